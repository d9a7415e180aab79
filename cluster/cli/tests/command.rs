//! The command `cluster` on real programs: each test runs a service in a new directory.

mod command {
    mod bad_input;
    mod clock;
    mod container;
    mod floods;
    mod foreign;
    mod foreign_c;
    mod health;
    mod hints;
    mod init;
    mod limits;
    mod lives;
    mod nginx;
    mod node;
    mod node_clients;
    mod node_forms;
    mod node_programs;
    mod node_servers;
    mod node_sockets;
    mod node_wrappers;
    mod reloads;
    mod service_death;
    mod sticky;
    mod support;
    mod systemd;
    mod upgrade;
    mod upgrade_failures;
    mod upgrade_systems;
}

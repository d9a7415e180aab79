//! A small program in C, without `epoll`. The socket is passed by `LISTEN_FDS`, or as an argument `fd://3`.

use std::process::Command;

use super::foreign::{port, reload_under_load};
use super::support::{Service, get};

/// Answers each connection with `hello`. After SIGTERM the loop ends with the present answer; a later
/// connection waits in the backlog for another process.
const SERVER: &str = r#"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t stopping = 0;
static void stop(int signal) { (void)signal; stopping = 1; }

static int inherited(int argc, char **argv) {
    if (argc > 1 && strncmp(argv[1], "fd://", 5) == 0) return atoi(argv[1] + 5);
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (pid == NULL || atoi(pid) != getpid() || count == NULL || atoi(count) != 1) exit(7);
    return 3;
}

int main(int argc, char **argv) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    struct sigaction action = { .sa_handler = stop };
    sigset_t blocked, before;
    char request[4096];
    int listener = inherited(argc, argv);
    /* Another process may accept between the two calls. */
    fcntl(listener, F_SETFL, O_NONBLOCK);
    sigaction(SIGTERM, &action, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    while (!stopping) {
        struct pollfd wanted = { .fd = listener, .events = POLLIN };
        /* The signal interrupts this wait alone. */
        if (ppoll(&wanted, 1, NULL, &before) < 1) continue;
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) continue;
        size_t length = 0;
        ssize_t more;
        while ((more = read(connection, request + length, sizeof request - 1 - length)) > 0) {
            request[length += (size_t)more] = 0;
            if (strstr(request, "\r\n\r\n") != NULL) break;
        }
        if (write(connection, answer, sizeof answer - 1) < 0) perror("write");
        close(connection);
    }
    return 0;
}
"#;

#[test]
fn c_program_reloads_without_loss() {
    for argument in [None, Some("fd://{fd}")] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("server.c"), SERVER).expect("a file");
        let mut compiler = Command::new("cc");
        compiler.args(["-D_GNU_SOURCE", "-o", "server", "server.c"]).current_dir(directory.path());
        assert!(compiler.status().expect("Rust needs cc as well").success());
        let line = ["-n", "2", "--listen", "127.0.0.1:0", "./server"];
        let service = Service::start(directory, &[&line[..], argument.as_slice()].concat());
        service.line("slot 1: worker 2 is ready");
        let port = port(&service);
        assert_eq!(get(port), "hello");
        assert!(reload_under_load(&service, port, 2) > 0);
    }
}

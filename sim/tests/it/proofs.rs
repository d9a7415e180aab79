//! The worlds of `examples/proofs.rs` that are small: every run of them is taken, and every check holds.

use std::collections::BTreeSet;

use cluster_sim::scenarios::PROOFS;

#[test]
fn every_run_of_the_small_worlds_is_right() {
    for proof in PROOFS.iter().filter(|proof| proof.is_small) {
        let coverage = proof.attempt(1_000_000).expect("every check holds");
        assert!(coverage.is_complete(), "{proof:?}: {coverage}");
        assert!(proof.kills == 0 || coverage.ends > 1, "a kill makes a difference: {coverage}");
    }
}

#[test]
fn every_story_has_a_small_world() {
    let stories = |small: bool| -> BTreeSet<_> {
        PROOFS.iter().filter(|proof| proof.is_small == small).map(|proof| proof.description).collect()
    };
    assert_eq!(stories(true), stories(false));
    assert_eq!(stories(true).len(), 5);
}

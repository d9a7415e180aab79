//! The small worlds of `tools/proofs.rs`: every check holds in every run.

use std::collections::BTreeSet;

use cluster_sim::scenarios::PROOFS;

#[test]
fn small_worlds_are_proven() {
    for proof in PROOFS.iter().filter(|proof| proof.is_small) {
        let coverage = proof.attempt(1_000_000).expect("every check holds");
        assert!(coverage.is_complete(), "{proof:?}: {coverage}");
        assert!(proof.kills == 0 || coverage.ends > 1, "a kill adds runs: {coverage}");
    }
}

#[test]
fn every_proof_has_a_small_world() {
    let descriptions = |small: bool| -> BTreeSet<_> {
        PROOFS.iter().filter(|proof| proof.is_small == small).map(|proof| proof.description).collect()
    };
    assert_eq!(descriptions(true), descriptions(false));
    assert_eq!(descriptions(true).len(), 5);
}

//! What a client may write down: it is connected, hears something and comes to an end; or it is refused.

use super::{Broken, expect, walk};
use crate::observation::Observation;

pub(super) fn check(lines: &[Observation]) -> Option<Broken> {
    let (mut begun, mut over) = (false, false);
    walk(lines, |line| {
        expect(!over, "nothing after the connection is over")?;
        let begins = !std::mem::replace(&mut begun, true);
        let what = line.what.as_str();
        over = ["refused", "end", "reset"].contains(&what);
        expect(begins == ["connected", "refused"].contains(&what), "`connected` or `refused` once, and first")
    })
}

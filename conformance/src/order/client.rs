//! The lines of a client: `connected`, then data and one end; or `refused`. A client without a connection may
//! receive answers to datagrams. The steps `mode` and `backlog` may write lines at any time.

use super::{Broken, expect, walk};
use crate::observation::Observation;
use crate::requirement::KERNEL_CONNECTION;

pub(super) fn check(lines: &[Observation]) -> Option<Broken> {
    let connects =
        lines.iter().any(|line| ["connected", "refused", "end", "reset"].contains(&line.what.as_str()));
    let (mut begun, mut over) = (!connects, false);
    walk(lines, |line| {
        if ["mode", "backlog"].contains(&line.what.as_str()) {
            return Ok(());
        }
        expect(!over, &KERNEL_CONNECTION, "nothing after the connection is over")?;
        let begins = !std::mem::replace(&mut begun, true);
        let what = line.what.as_str();
        over = ["refused", "end", "reset"].contains(&what);
        let is_first = begins == ["connected", "refused"].contains(&what);
        expect(is_first, &KERNEL_CONNECTION, "`connected` or `refused` once, and first")
    })
}

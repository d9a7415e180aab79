//! Random numbers: the generator `SplitMix64`.

/// A generator.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    state: u64,
}

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Numbers { state: seed }
    }

    /// A generator with other numbers: its state is far from the state of this generator.
    pub(crate) fn distant(&self) -> Self {
        Numbers { state: self.state ^ 0xA5A5_5A5A_C3C3_3C3C }
    }

    pub(crate) fn pick(&mut self, of: [u32; 4]) -> u32 {
        of[self.below(4) as usize]
    }

    /// Uniform in `0..n`.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        u32::try_from((u64::from(self.next_u32()) * u64::from(n)) >> 32).expect("a number below `n`")
    }

    fn next_u32(&mut self) -> u32 {
        self.state = self.state.wrapping_add(GAMMA);
        u32::try_from(mixed(self.state) >> 32).expect("32 bits")
    }
}

/// 64 random bits for one of the streams of a seed.
pub(crate) fn number(seed: u64, stream: u32) -> u64 {
    mixed(mixed(seed.wrapping_add(GAMMA)) ^ u64::from(stream))
}

/// The increment of the state.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output in a state.
fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

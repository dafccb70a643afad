//! `Math.random`: the engine seeds its own when a context is made, which every child of one warmed process would share.

/// xoshiro256++ (Blackman and Vigna, <https://prng.di.unimi.it/xoshiro256plusplus.c>).
#[derive(Default)]
pub(crate) struct Generator([u64; 4]);

impl Generator {
    pub(crate) fn seed(&mut self, seed: [u8; 32]) {
        for (word, bytes) in self.0.iter_mut().zip(seed.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        }
        // An all-zero state stays zero.
        self.0[0] |= 1;
    }

    /// In [0, 1), with 53 bits.
    pub(crate) fn fraction(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let bits = (self.next() >> 11) as f64;
        bits / (1u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }
}

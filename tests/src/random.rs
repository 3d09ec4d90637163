//! Random numbers that can be had again.

/// A generator with a known seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Takes the seed of `MIGRATE_PROPERTY_SEED`, or one of its own, and prints it.
    pub fn seeded(name: &str) -> Self {
        let given = std::env::var("MIGRATE_PROPERTY_SEED").ok().and_then(|text| text.parse().ok());
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        let seed = given.unwrap_or_else(now) | 1;
        println!("{name}: MIGRATE_PROPERTY_SEED={seed}");
        Random::new(seed)
    }

    /// Takes a seed.
    pub fn new(seed: u64) -> Self {
        Random { state: seed | 1 }
    }

    /// Returns a number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }
}

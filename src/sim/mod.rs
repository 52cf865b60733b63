//! The world in memory: seeded, with a virtual clock and a disk that can lose its power.

pub mod disk;

//! To be written: spawn.

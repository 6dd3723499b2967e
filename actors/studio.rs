//! What a step of a render job does; each provider behind its breaker.

pub mod plan;
pub mod runner;
pub mod slots;
pub mod voices;

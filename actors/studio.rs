//! What a step of a render job does; each provider behind its breaker.

pub mod plan;

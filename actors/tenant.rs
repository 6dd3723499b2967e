//! The tenant actor: one writer for one tenant's accounting.

pub mod period;
pub mod plan;
pub mod quota;
pub mod state;
pub mod steps;

//! The append-only log of every tenant's usage plane.

pub mod entry;

//! What keeps personal data apart and erasable.

pub mod keys;

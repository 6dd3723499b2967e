//! Names and descriptions of the metrics of this crate.

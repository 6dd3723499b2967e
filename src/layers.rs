//! To be written: layers.

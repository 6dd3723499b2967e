//! To be written: ops.

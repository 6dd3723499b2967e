//! To be written: gate.

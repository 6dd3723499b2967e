//! To be written: problem.

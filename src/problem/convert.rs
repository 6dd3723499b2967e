//! What the domain refuses, as problems.

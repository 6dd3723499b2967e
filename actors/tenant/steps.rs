//! Pure: steps.

//! Pure: period.

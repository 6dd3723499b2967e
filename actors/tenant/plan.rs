//! Pure: plan.

//! To be written: routes.

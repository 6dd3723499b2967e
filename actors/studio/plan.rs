//! The render plan: parsing and limits.

//! The databases behind typed transactions; the only part that names sqlx.

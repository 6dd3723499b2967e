//! Pure: quota.

//! The tenants on a real journal in a real folder, with a studio that does what a test says.

mod bounds;
mod house;
mod jobs;
mod life;
mod storm;

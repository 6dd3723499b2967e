//! The integration tests: real servers, real processes, and the rules that the source keeps.

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod book;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod contention;
#[cfg(test)]
mod corrections;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod journey;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod process;
#[cfg(test)]
mod product;
#[cfg(test)]
mod quarantine;
#[cfg(test)]
mod quick_start;
#[cfg(test)]
mod straddle;
#[cfg(test)]
mod support;
#[cfg(test)]
mod test_clock;
#[cfg(test)]
mod videos;
#[cfg(test)]
mod webhooks;

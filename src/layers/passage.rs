//! What the front knows of a request when its route begins.

use std::net::IpAddr;
use std::time::Duration;

use http::Extensions;
use tenantry_supervision::deadline::Deadline;
use tokio::time::Instant;

use super::{ClientAddress, RequestIds};
use crate::auth::{Operator, Recognised};
use crate::problem::{Problem, ProblemKind};

/// A request that was let in.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Its names.
    pub ids: RequestIds,
    /// When its answer is due.
    pub deadline: Deadline,
    /// Where it comes from.
    pub address: ClientAddress,
    /// Who asks, if a credential says so.
    pub recognised: Option<Recognised>,
    /// Whether the operators' token came with it.
    pub is_operator: bool,
    net: Net,
}

/// Catches work that forgot its deadline.
#[derive(Clone, Copy, Debug)]
pub struct Net(Instant);

impl Passage {
    /// A request of nobody, yet.
    pub(super) fn new(ids: RequestIds, deadline: Deadline, grace: Duration, from: IpAddr) -> Self {
        let net = Net(deadline.instant() + grace);
        let address = ClientAddress(from);
        Self { ids, deadline, address, recognised: None, is_operator: false, net }
    }

    /// What ends work that takes longer than its deadline and a grace. The domain answers by the
    /// deadline itself; everything else belongs into the net.
    pub fn net(&self) -> Net {
        self.net
    }

    /// Leaves everything in the request, for routes that take it from there.
    pub(super) fn mark(self, extensions: &mut Extensions) {
        extensions.insert(self.ids);
        extensions.insert(self.deadline);
        extensions.insert(self.address);
        if let Some(recognised) = self.recognised {
            extensions.insert(recognised);
        }
        if self.is_operator {
            extensions.insert(Operator);
        }
    }
}

impl Net {
    /// Waits for work, but not for ever. Work that is done at once sets no timer.
    pub async fn catch<T>(
        self,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        match tokio::time::timeout_at(self.0, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Problem::new(ProblemKind::DeadlineExceeded)),
        }
    }
}

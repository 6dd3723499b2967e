//! What owners and operators change about what a tenant may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Tenants, unexpected};
use crate::ids::{GrantId, TenantId};
use crate::tenant::call::{Answer, CallContext, TenantError};
use crate::tenant::period::Cycle;
use crate::tenant::plan::PlanName;
use crate::tenant::quota::{
    Command, Enforcement, GrantEnded, GrantTerms, GrantView, Granted, Outcome, PlanChange, SpendCap,
};
use crate::tenant::state::TenantOutcome;

/// What holds for a tenant beside its plan.
#[derive(Clone, Debug)]
pub struct Exceptions {
    /// Units on top of its limits, in the order in which they burn.
    pub grants: Vec<GrantView>,
    /// Whether its limits refuse.
    pub enforcement: Enforcement,
    /// Features that are switched on or off, whatever the plan says.
    pub features: BTreeMap<String, bool>,
    /// The rule of its periods.
    pub cycle: Cycle,
}

/// Whether a tenant may use a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureStand {
    /// Whether it may.
    pub allowed: bool,
    /// Whether the operator says so, whatever the plan includes.
    pub is_switched: bool,
    /// The plan in force.
    pub plan: PlanName,
}

impl Tenants {
    /// Puts a plan of the catalogue in force at once; the periods stay as they are.
    pub async fn set_plan(
        &self,
        tenant: TenantId,
        plan: PlanName,
        context: CallContext,
    ) -> Result<Answer<()>, TenantError> {
        self.change_plan(tenant, &plan, None, PlanChange::Now, context).await
    }

    /// Puts a plan of the catalogue in force, now or when the period ends, with the rule of the
    /// periods from then on; without one the rule stays.
    pub async fn change_plan(
        &self,
        tenant: TenantId,
        plan: &PlanName,
        cycle: Option<Cycle>,
        when: PlanChange,
        context: CallContext,
    ) -> Result<Answer<()>, TenantError> {
        let plan = self.shell.catalogue.plan(plan.as_str()).ok_or(TenantError::UnknownPlan)?;
        let terms = Arc::clone(&plan.terms);
        let command = Command::SetPlan { terms, cycle, when };
        self.ask(tenant, command, &context).await?.try_map(|_| Ok(()))
    }

    /// Says how much overage a period may cost; nothing makes every limit hard.
    pub async fn set_spend_cap(
        &self,
        tenant: TenantId,
        amount_minor: u64,
        context: CallContext,
    ) -> Result<Answer<SpendCap>, TenantError> {
        let command = Command::SetSpendCap { amount_minor };
        self.ask(tenant, command, &context).await?.try_map(|outcome| match outcome {
            TenantOutcome::Usage(Outcome::SpendCap(cap)) => Ok(cap),
            other => Err(unexpected(&other)),
        })
    }

    /// Tells how much overage a period may cost.
    pub async fn spend_cap(&self, tenant: TenantId) -> Result<SpendCap, TenantError> {
        self.read(tenant, |life| Ok(life.book.state().quota().spend_cap())).await
    }

    /// Tells what holds for this tenant beside its plan.
    pub async fn exceptions(&self, tenant: TenantId) -> Result<Exceptions, TenantError> {
        self.read(tenant, |life| {
            let quota = life.book.state().quota();
            Ok(Exceptions {
                grants: quota.grants(),
                enforcement: quota.enforcement(),
                features: quota.switched_features().clone(),
                cycle: quota.cycle().clone(),
            })
        })
        .await
    }

    /// Switches a feature on or off, whatever the plan says; none leaves it to the plan again.
    pub async fn set_feature(
        &self,
        tenant: TenantId,
        feature: String,
        allowed: Option<bool>,
        context: CallContext,
    ) -> Result<Answer<()>, TenantError> {
        let command = Command::SetFeature { feature, allowed };
        self.ask(tenant, command, &context).await?.try_map(|_| Ok(()))
    }

    /// Makes a name for a grant.
    pub fn new_grant_id(&self) -> GrantId {
        GrantId::generate(&*self.shell.clock)
    }

    /// Puts units on top of a limit.
    pub async fn grant(
        &self,
        tenant: TenantId,
        grant: GrantTerms,
        context: CallContext,
    ) -> Result<Answer<Granted>, TenantError> {
        let GrantTerms { id, meter, amount, priority, expires_at, rollover, source } = grant;
        let command = Command::Grant { id, meter, amount, priority, expires_at, rollover, source };
        self.ask(tenant, command, &context).await?.try_map(|outcome| match outcome {
            TenantOutcome::Usage(Outcome::Granted(granted)) => Ok(granted),
            other => Err(unexpected(&other)),
        })
    }

    /// Takes back what is left of a grant.
    pub async fn revoke_grant(
        &self,
        tenant: TenantId,
        id: GrantId,
        context: CallContext,
    ) -> Result<Answer<GrantEnded>, TenantError> {
        let command = Command::RevokeGrant { id };
        self.ask(tenant, command, &context).await?.try_map(|outcome| match outcome {
            TenantOutcome::Usage(Outcome::GrantEnded(ended)) => Ok(ended),
            other => Err(unexpected(&other)),
        })
    }

    /// Says whether limits refuse, or only say that they would.
    pub async fn set_enforcement(
        &self,
        tenant: TenantId,
        mode: Enforcement,
        context: CallContext,
    ) -> Result<Answer<()>, TenantError> {
        let command = Command::SetEnforcement { mode };
        self.ask(tenant, command, &context).await?.try_map(|_| Ok(()))
    }
}

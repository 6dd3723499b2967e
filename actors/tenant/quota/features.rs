//! Features: what the plan includes, unless the operator says otherwise for this tenant.

use std::collections::BTreeMap;

use super::{Decision, Fact, Quota, Refusal};

impl Quota {
    /// Says whether this tenant may use a feature.
    pub fn allows(&self, feature: &str) -> bool {
        self.features.get(feature).copied().unwrap_or_else(|| self.terms().allows(feature))
    }

    /// Returns what the operator switched on or off, whatever the plan says.
    pub fn switched_features(&self) -> &BTreeMap<String, bool> {
        &self.features
    }

    /// Refuses what the tenant may not use.
    pub(in crate::tenant) fn check_feature(&self, feature: &str) -> Result<(), Refusal> {
        let feature = match (self.allows(feature), self.features.contains_key(feature)) {
            (true, _) => return Ok(()),
            (false, true) => return Err(Refusal::FeatureOff { feature: feature.to_owned() }),
            (false, false) => feature.to_owned(),
        };
        Err(Refusal::PlanRequired { feature, plan: self.terms().plan.clone() })
    }

    pub(super) fn decide_feature(&self, feature: &str, allowed: Option<bool>) -> Decision {
        if self.features.get(feature).copied() == allowed {
            return Decision::Nothing;
        }
        Decision::New(Fact::FeatureSet { feature: feature.to_owned(), allowed })
    }

    pub(super) fn record_feature(&mut self, feature: &str, allowed: Option<bool>) {
        match allowed {
            Some(allowed) => self.features.insert(feature.to_owned(), allowed),
            None => self.features.remove(feature),
        };
    }
}

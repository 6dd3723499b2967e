//! An operator lets a tenant run again; what keeps it from running is proven beside the actor.

use reqwest::Method;
use serde_json::json;

use crate::operators::{operated, operator, tenant_of};

#[tokio::test]
async fn lifting_a_quarantine_is_the_operators_and_harmless_where_there_is_none() {
    let stack = operated().await;
    let ada = stack.api_key("ada@example.test").await.unwrap();
    let id = tenant_of(&stack, "ada").await;
    let path = format!("/api/admin/tenants/{id}/lift-quarantine");

    let by_tenant = ada.call(Method::POST, &path, None).await.unwrap();
    let lifted = operator(&stack).call(Method::POST, &path, None).await.unwrap();
    let nobody = "/api/admin/tenants/tnt_00000000000000000000000001/lift-quarantine";
    let missing = operator(&stack).call(Method::POST, nobody, None).await.unwrap();

    assert_eq!(by_tenant.status, 403, "{by_tenant:?}");
    assert_eq!(lifted.body, json!({ "was_failing": false, "entries": 0 }));
    assert_eq!(missing.status, 404, "{missing:?}");
}

//! Files of tenants: each tenant's store is prefixed by construction.

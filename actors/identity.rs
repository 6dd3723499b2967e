//! Users, sessions, magic links, API keys and their audit.

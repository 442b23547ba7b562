//! One long-lived stream of messages, both ways, between control and an agent or a proxy.

//! ARP (RFC 826): the gateway's address is here.
//!
//! Nothing else is answered. The guest's probes and announcements (RFC 5227) for its own address meet silence, so it
//! keeps the address; other addresses of the network have nobody behind them, and a proxy answer would hide that.

use super::{Answer, Gateway};
use crate::packet::arp::{Arp, REPLY, REQUEST};
use crate::packet::ethernet;

pub(super) fn answer(gateway: &Gateway, message: &[u8]) -> Answer {
    let asked = Arp::parse(message)?;
    // A probe (sender 0.0.0.0) for the gateway's address is answered too: that is how the guest learns of the conflict.
    if asked.operation != REQUEST || asked.target != gateway.address || asked.sender_mac != gateway.guest_mac {
        return Ok(None);
    }
    let reply = Arp {
        operation: REPLY,
        sender_mac: gateway.mac,
        sender: gateway.address,
        target_mac: asked.sender_mac,
        target: asked.sender,
    };
    Ok(Some(gateway.frame_to(
        gateway.guest_mac,
        ethernet::TYPE_ARP,
        &reply.emit(),
    )))
}

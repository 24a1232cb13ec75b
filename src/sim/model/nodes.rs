//! The machines of a scenario: names, racks, roles, addresses.

use crate::fleet::{NodeName, RackName, RoleName};
use crate::sim::scenario::Scenario;
use std::net::Ipv4Addr;

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name, for instance `rack3-cs2`.
    pub name: NodeName,
    /// Its rack, for instance `rack3`.
    pub rack: RackName,
    /// The rack's number.
    pub rack_number: usize,
    /// Its place in the rack, from 1; masters first.
    pub index_in_rack: usize,
    /// `cs` or `ss`; none for a master.
    pub role: Option<RoleName>,
    /// Whether it carries the control plane.
    pub master: bool,
    /// Its loopback address.
    pub address: Ipv4Addr,
}

/// The machines, masters first, then the workers rack by rack.
///
/// # Errors
/// When the scenario makes a name that is none; it does not.
pub(crate) fn specs(scenario: &Scenario) -> Result<Vec<NodeSpec>, String> {
    let mut specs = Vec::with_capacity(scenario.masters + scenario.nodes);
    let mut seats = vec![0; scenario.racks];
    let mut add = |rack_number: usize, label: String, role: Option<&str>| -> Result<(), String> {
        seats[rack_number] += 1;
        let number = specs.len();
        let rack = format!("rack{rack_number}");
        specs.push(NodeSpec {
            name: format!("{rack}-{label}").parse().map_err(|e| format!("{e}"))?,
            rack: rack.parse().map_err(|e| format!("{e}"))?,
            rack_number,
            index_in_rack: seats[rack_number],
            role: role.map(str::parse).transpose().map_err(|e| format!("{e}"))?,
            master: role.is_none(),
            // 127.77.0.1 and on; 250 to a third octet, more in the next second octets.
            address: Ipv4Addr::new(
                127,
                77 + (number / 62_500) as u8,
                (number / 250 % 250) as u8,
                (number % 250 + 1) as u8,
            ),
        });
        Ok(())
    };
    for m in 0..scenario.masters {
        add(m % scenario.racks, format!("m{}", m / scenario.racks + 1), None)?;
    }
    for rack in 0..scenario.racks {
        let seats = scenario.nodes / scenario.racks + usize::from(rack < scenario.nodes % scenario.racks);
        let storage = (seats as f64 * scenario.storage_share).round() as usize;
        for i in 1..=seats - storage {
            add(rack, format!("cs{i}"), Some("cs"))?;
        }
        for i in 1..=storage {
            add(rack, format!("ss{i}"), Some("ss"))?;
        }
    }
    Ok(specs)
}

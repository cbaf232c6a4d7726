//! `quorate node`: the cluster's nodes, as the running node sees them.

use clap::Subcommand;

use super::admin::SocketArgs;
use super::status::{print_json, show_nodes};
use super::{Exit, Failure, print};
use crate::admin::NodeState;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// List all nodes
    List {
        #[command(flatten)]
        socket: SocketArgs,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a node that was put out come back, and print the entry of the log that says so
    Readmit {
        #[command(flatten)]
        socket: SocketArgs,
        /// Its name
        name: String,
    },
}

pub(super) fn node(command: &NodeCommand, config: impl Fn() -> Result<Config, Failure>) -> Result<(), Failure> {
    match command {
        NodeCommand::List { socket, json } => {
            let nodes = socket.connect(config)?.status()?.nodes;
            if *json {
                return print_json(&nodes);
            }
            print(show_nodes(&nodes).as_bytes())
        }
        NodeCommand::Readmit { socket, name } => readmit(socket, name, config),
    }
}

fn readmit(socket: &SocketArgs, name: &str, config: impl Fn() -> Result<Config, Failure>) -> Result<(), Failure> {
    let nodes = socket.connect(&config)?.status()?.nodes;
    let Some(node) = nodes.iter().find(|node| node.node == name) else {
        let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
        let what = format!("{name} is no node of this cluster");
        return Err(Failure::new(
            Exit::Usage,
            what,
            format!("use one of {}", names.join(", ")),
        ));
    };
    if node.state != NodeState::Evicted {
        let what = format!("{name} is not evicted: {}", node.state);
        return Err(Failure::new(Exit::Data, what, "there is nothing to do"));
    }
    let readmitted = socket.connect(&config)?.readmit(name)?;
    let (index, term) = (readmitted.index, readmitted.term);
    print(format!("{name} is readmitted by entry {index} of term {term}; start it again\n").as_bytes())
}

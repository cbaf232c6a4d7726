use proptest::prelude::*;

use super::*;
use crate::log::NodeId;

fn input(origin: u16, sequence: u64, payload: Payload) -> Input {
    Input {
        id: InputId {
            origin: NodeId(origin),
            incarnation: 1,
            sequence,
        },
        payload,
    }
}

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(Payload::Frame),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(port, bytes)| Payload::Serial { port, bytes }),
        Just(Payload::Reset),
        prop::collection::vec(any::<u16>().prop_map(NodeId), 0..9).prop_map(|ready| Payload::Membership { ready }),
    ]
}

prop_compose! {
    fn any_entry()(
        index in 0..u64::MAX,
        chain: [u8; 32],
        term: u64,
        id: u128,
        payloads in prop::collection::vec((any::<u16>(), any::<u64>(), any_payload()), 0..20),
        ticks: u64,
        until: u64,
    ) -> Entry {
        let inputs = payloads.into_iter().map(|(origin, sequence, payload)| input(origin, sequence, payload)).collect();
        let grant = Grant { ticks, until: AgreedTime(until) };
        Entry::after((Index(index), Chain(chain)), Term(term), id, inputs, grant)
    }
}

proptest! {
    #[test]
    fn read_gives_what_was_written(entry in any_entry()) {
        prop_assert_eq!(Entry::decode(&entry.to_row()), Ok(entry));
    }

    #[test]
    fn size_is_within_the_estimate(entry in any_entry()) {
        prop_assert!(entry.encode().len() <= HEADER_BYTES + entry.payload_bytes_max());
    }

    #[test]
    fn every_changed_bit_is_found(entry in any_entry(), at: prop::sample::Index, bit in 0..8_u8) {
        let mut row = entry.to_row();
        let at = at.index(row.entry.len());
        row.entry[at] ^= 1 << bit;
        prop_assert!(Entry::decode(&row).is_err());
    }

    #[test]
    fn every_cut_is_found(entry in any_entry(), at: prop::sample::Index) {
        let mut row = entry.to_row();
        let at = at.index(row.entry.len());
        row.entry.truncate(at);
        prop_assert!(Entry::decode(&row).is_err());
    }

    #[test]
    fn another_row_s_name_is_found(entry in any_entry(), index: u64, term: u64, id: u128) {
        let row = entry.to_row();
        for row in [
            Row { index: Index(index), ..row.clone() },
            Row { term: Term(term), ..row.clone() },
            Row { id, ..row.clone() },
        ] {
            prop_assert!(Entry::decode(&row).is_err());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), index: u64) {
        let row = Row { index: Index(index), term: Term(1), id: 1, entry: bytes };
        prop_assert!(Entry::decode(&row).is_err());
    }

    /// Behind a sound header and checksum the payload's own reader is reached.
    #[test]
    fn random_payloads_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200), genesis: bool) {
        let _ = Entry::decode(&sealed(genesis, &payload));
    }

    /// A payload with some bytes changed: counts and lengths that promise more than there is.
    #[test]
    fn mutated_payloads_never_panic(
        entry in any_entry(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut payload = entry.payload();
        for (at, value) in changes {
            let at = at.index(payload.len());
            payload[at] = value;
        }
        let _ = Entry::decode(&sealed(false, &payload));
    }
}

/// A row with a sound header around any payload.
fn sealed(genesis: bool, payload: &[u8]) -> Row {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u16::from(genesis).to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&[0; 36]);
    bytes.extend_from_slice(payload);
    let (index, term, id) = (Index(u64::from(!genesis)), Term(1), 7);
    let crc = checksum(index, term, id, &bytes);
    bytes[CRC_AT].copy_from_slice(&crc.to_le_bytes());
    Row {
        index,
        term,
        id,
        entry: bytes,
    }
}

#[test]
fn counts_that_promise_more_than_there_is_are_refused() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]; // u64::MAX as a varint
    assert!(matches!(
        Entry::decode(&sealed(false, &huge)),
        Err(CodecError::Payload(_))
    ));
    let mut frame = vec![1, 0, 1, 1, 0]; // one input, node 0, incarnation 1, sequence 1, a frame of ...
    frame.extend_from_slice(&huge);
    assert!(matches!(
        Entry::decode(&sealed(false, &frame)),
        Err(CodecError::Payload(_))
    ));
}

#[test]
fn limits_hold_when_reading() {
    let oversize = input(0, 1, Payload::Frame(vec![0; INPUT_BYTES_MAX + 1]));
    assert!(oversize.check().is_err());
    let payload = Entry::after(
        (Index(0), Chain::default()),
        Term(1),
        7,
        vec![oversize],
        Grant::default(),
    )
    .payload();
    assert!(matches!(
        Entry::decode(&sealed(false, &payload)),
        Err(CodecError::Limit { .. })
    ));
    let long = Row {
        index: Index(1),
        term: Term(1),
        id: 7,
        entry: vec![0; ENTRY_BYTES_MAX + 1],
    };
    assert_eq!(Entry::decode(&long), Err(CodecError::TooLong(ENTRY_BYTES_MAX + 1)));
}

#[test]
#[should_panic(expected = "at most")]
fn an_oversize_input_is_not_written() {
    let oversize = input(0, 1, Payload::Frame(vec![0; INPUT_BYTES_MAX + 1]));
    let _ = Entry::after(
        (Index(0), Chain::default()),
        Term(1),
        7,
        vec![oversize],
        Grant::default(),
    )
    .encode();
}

#[test]
fn genesis_is_the_same_for_the_same_machine() {
    let genesis = Entry::genesis([1; 32], AgreedTime(5));
    assert_eq!(genesis, Entry::genesis([1; 32], AgreedTime(5)));
    assert_ne!(genesis.id, Entry::genesis([2; 32], AgreedTime(5)).id);
    assert_ne!(genesis.chain, Entry::genesis([1; 32], AgreedTime(6)).chain);
    assert_eq!(Entry::decode(&genesis.to_row()), Ok(genesis));
}

#[test]
fn genesis_belongs_at_the_start_only() {
    let genesis = Entry::genesis([1; 32], AgreedTime(5));
    let mut elsewhere = genesis.clone();
    elsewhere.index = Index(1);
    let row = sealed(false, &elsewhere.payload());
    assert_eq!(Entry::decode(&row), Err(CodecError::Flags(0)));
}

#[test]
fn follows_checks_index_chain_term_and_time() {
    let grant = |until| Grant {
        ticks: 1,
        until: AgreedTime(until),
    };
    let genesis = Entry::genesis([1; 32], AgreedTime(5));
    let first = Entry::after(&genesis, Term(2), 1, vec![], grant(9));
    assert_eq!(first.follows(&genesis), Ok(()));
    for (wrong, reason) in [
        (
            Entry::after((Index(4), first.chain), Term(2), 2, vec![], grant(9)),
            "index 5 after 1",
        ),
        (
            Entry::after((first.index, genesis.chain), Term(2), 2, vec![], grant(9)),
            "built on",
        ),
        (Entry::after(&first, Term(1), 2, vec![], grant(9)), "term 1 after 2"),
        (
            Entry::after(&first, Term(2), 2, vec![], grant(8)),
            "agreed time 8 after 9",
        ),
    ] {
        let error = wrong.follows(&first).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// The format is frozen: a change of these bytes needs a new VERSION.
#[test]
fn format_1_stays_as_it_is() {
    let genesis = Entry::genesis([7; 32], AgreedTime(1_700_000_000_000_000_000));
    let inputs = vec![
        input(2, 300, Payload::Frame(vec![0xaa, 0xbb])),
        input(
            1,
            2,
            Payload::Serial {
                port: 1,
                bytes: b"hi".to_vec(),
            },
        ),
        input(0, 3, Payload::Reset),
        input(
            0,
            4,
            Payload::Membership {
                ready: vec![NodeId(0), NodeId(2)],
            },
        ),
    ];
    let grant = Grant {
        ticks: 1000,
        until: AgreedTime(1_700_000_000_001_000_000),
    };
    let entry = Entry::after(&genesis, Term(3), 0x0123_4567_89ab_cdef, inputs, grant);
    assert_eq!(hex::encode(entry.payload()), PAYLOAD_1);
    assert_eq!(hex::encode(entry.chain.0), CHAIN_1);
}

const PAYLOAD_1: &str = "040201ac020002aabb01010201010268690001030200010403020002e807c084e5b1e39fe7cb1700";
const CHAIN_1: &str = "de610bed2ba50c9413469778f28d804e8f5bc2146c7d0e11b812622c1a57da27";

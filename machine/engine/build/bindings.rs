//! The Rust side: bindings made from the patched header, under the names that upstream's `lib.rs` and the safe crate
//! `unicorn-engine` 2.1.5 import.

use crate::fail;
use crate::source::Files;
use bindgen::callbacks::{EnumVariantValue, ParseCallbacks};
use std::fs;
use std::path::Path;

/// Ends the build with a hint when bindgen would panic without one.
pub fn require_libclang() {
    if let Err(error) = clang_sys::load() {
        fail(format_args!(
            "libclang is needed to read the CPU engine's header (Debian: libclang1-14 and libclang-common-14-dev, or \
             libclang-dev): {error}"
        ));
    }
}

pub fn generate(header: &Path, to: &Path) {
    // Sets of bits, not alternatives: a Rust enum of them would be undefined behaviour.
    let bits = [
        "uc_hook_type",
        "uc_tcg_op_flag",
        "uc_prot",
        "uc_mode",
        "uc_context_content",
        "uc_control_type",
    ];
    let bindings = bindgen::Builder::default()
        .header(header.to_str().expect("OUT_DIR is UTF-8, as cargo printed it"))
        .layout_tests(false)
        .allowlist_type("^uc.*")
        .allowlist_function("^uc_.*")
        .allowlist_var("^uc.*")
        .rustified_enum("^uc.*")
        .bitfield_enum(bits.join("|"))
        .prepend_enum_name(false)
        .parse_callbacks(Box::new(Renamer))
        .derive_ord(true)
        .derive_eq(true)
        .use_core()
        .generate()
        .unwrap_or_else(|error| fail(format_args!("bindings (Debian: libclang-common-14-dev): {error}")));
    bindings
        .write_to_file(to)
        .unwrap_or_else(|error| fail(format_args!("{}: {error}", to.display())));
}

/// Upstream's `lib.rs` as a text for `include!`, where inner attributes are not allowed and `mod bindings;` would look
/// beside the including file.
pub fn rust_side(files: &Files, to: &Path) {
    const ATTRIBUTE: &str = "#![allow(non_camel_case_types)]\n";
    const MODULE: &str = "mod bindings;\n";
    let text = std::str::from_utf8(&files["bindings/rust/sys/src/lib.rs"]).expect("its digest was checked");
    for (part, count) in [(ATTRIBUTE, 1), ("#![", 1), (MODULE, 1)] {
        assert_eq!(
            text.matches(part).count(),
            count,
            "upstream's lib.rs has another shape than expected: {part:?}"
        );
    }
    let inline = "mod bindings { include!(concat!(env!(\"OUT_DIR\"), \"/bindings.rs\")); }\n";
    let text = text.replace(ATTRIBUTE, "").replace(MODULE, inline);
    fs::write(to, text).unwrap_or_else(|error| fail(format_args!("{}: {error}", to.display())));
}

/// C type, Rust name, and the prefix its enumerators lose (empty: not an enumeration).
const NAMES: [(&str, &str, &str); 16] = [
    ("uc_arch", "Arch", "UC_ARCH_"),
    ("uc_context_content", "ContextMode", "UC_CTL_CONTEXT_"),
    ("uc_control_type", "ControlType", "UC_CTL_"),
    ("uc_err", "uc_error", "UC_ERR_"),
    ("uc_hook_type", "HookType", "UC_HOOK_"),
    ("uc_mem_region", "MemRegion", ""),
    ("uc_mem_type", "MemType", "UC_MEM_"),
    ("uc_mode", "Mode", "UC_MODE_"),
    ("uc_prot", "Prot", "UC_PROT_"),
    ("uc_query_type", "Query", "UC_QUERY_"),
    ("uc_tb", "TranslationBlock", ""),
    ("uc_tcg_op_code", "TcgOpCode", "UC_TCG_OP_"),
    ("uc_tcg_op_flag", "TcgOpFlag", "UC_TCG_OP_FLAG_"),
    ("uc_tlb_entry", "TlbEntry", ""),
    ("uc_tlb_type", "TlbType", "UC_TLB_"),
    ("uc_x86_insn", "X86Insn", "UC_X86_INS_"),
];

/// The families besides [`NAMES`]: `uc_cpu_arm64` becomes `Arm64CpuModel`, `uc_arm64_reg` `RegisterARM64`,
/// `uc_arm_cp_reg` `RegisterARMCP` and `uc_arm64_insn` `Arm64Insn`.
#[derive(Debug)]
struct Renamer;

impl ParseCallbacks for Renamer {
    fn item_name(&self, item: &str) -> Option<String> {
        if let Some(&(_, rust, _)) = NAMES.iter().find(|&&(c, ..)| c == item) {
            return Some(rust.to_owned());
        }
        let name = item.strip_prefix("uc_")?;
        if let Some(cpu) = name.strip_prefix("cpu_") {
            Some(capitalized(cpu) + "CpuModel")
        } else if let Some(arch) = name.strip_suffix("_reg") {
            Some(format!("Register{}", arch.replace('_', "").to_uppercase()))
        } else {
            Some(capitalized(name.strip_suffix("_insn")?) + "Insn")
        }
    }

    fn enum_variant_name(&self, owner: Option<&str>, variant: &str, _: EnumVariantValue) -> Option<String> {
        let owner = owner?.strip_prefix("enum ")?;
        let name = match NAMES.iter().find(|&&(c, ..)| c == owner) {
            Some(&(_, _, prefix)) => variant.strip_prefix(prefix)?,
            None => variant.strip_prefix(&owner.to_uppercase())?.strip_prefix('_')?,
        };
        let name = name.to_uppercase();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            return Some(name);
        }
        // 926 of ARM's models, 16 of the modes, 0 of the registers of MIPS: no Rust name starts with a digit.
        let lead = if owner.starts_with("uc_cpu_") {
            "Model_"
        } else if owner == "uc_mode" {
            "MODE_"
        } else {
            "R"
        };
        Some(format!("{lead}{name}"))
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

//! The processor, and the first rr release that supports it.
//!
//! rr identifies processors by CPUID (x86) or MIDR (arm64), which `/proc/cpuinfo` shows in parts, and refuses those
//! that its tables do not list. Our tables were copied from `src/PerfCounters_x86.h` and `src/PerfCounters_aarch64.h`
//! of 5.4.0 to 5.9.0 and of rr's main branch in August 2026.

use super::Version;

/// The version for processors that only rr's main branch supports; its builds still call themselves 5.9.0.
pub const UNRELEASED: Version = Version(5, 9, 1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Intel,
    Amd,
    /// arm64, with the implementer number from MIDR.
    Arm(u32),
}

/// The processor according to `/proc/cpuinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// `None` for processors on which rr does not run.
    pub maker: Option<Maker>,
    /// x86: CPUID's type, family and model without the stepping, which rr calls the CPU type. arm64: the part number.
    pub number: u32,
    /// x86: CPUID's extended family.
    pub family: u32,
    /// The vendor's model name.
    pub model: String,
    flags: Vec<String>,
}

/// rr's entry for a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Microarchitecture {
    pub name: &'static str,
    /// The first release that supports it.
    pub since: Version,
    /// The event number for retired branches; 0 if rr knows the processor but cannot use it.
    pub branches: u64,
}

impl Microarchitecture {
    /// Zen has SpecLockMap, which must be off.
    pub fn is_zen(self) -> bool {
        self.name.starts_with("AMD Zen")
    }
}

impl Processor {
    /// Reads the first processor of `/proc/cpuinfo`.
    pub fn read(cpuinfo: &str) -> Self {
        let line = |name: &str| {
            let mut pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
            pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        let number = |name: &str| {
            let text = line(name)?;
            match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            }
        };
        let vendor = line("vendor_id");
        let (maker, number, family) = match (vendor.as_deref(), number("cpu family"), number("model")) {
            (Some(vendor @ ("GenuineIntel" | "AuthenticAMD")), Some(family), Some(model)) => {
                // CPUID splits both numbers; /proc/cpuinfo shows the sums.
                let (base, extended) = if family > 15 { (15, family - 15) } else { (family, 0) };
                let kind = (model >> 4) << 16 | base << 8 | (model & 0xf) << 4;
                (Some(if vendor == "GenuineIntel" { Maker::Intel } else { Maker::Amd }), kind, extended)
            }
            _ => match (number("CPU implementer"), number("CPU part")) {
                (Some(implementer), Some(part)) => (Some(Maker::Arm(implementer)), part, 0),
                _ => (None, 0, 0),
            },
        };
        let model = line("model name").or(vendor).unwrap_or_else(|| match maker {
            Some(Maker::Arm(implementer)) => format!("implementer {implementer:#x}, part {number:#x}"),
            _ => "unknown".into(),
        });
        let flags = line("flags").or_else(|| line("Features")).unwrap_or_default();
        Self { maker, number, family, model, flags: flags.split(' ').map(str::to_owned).collect() }
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    /// Whether the processor reports that it runs under a hypervisor.
    pub fn is_virtual(&self) -> bool {
        self.has("hypervisor")
    }

    pub fn is_x86(&self) -> bool {
        matches!(self.maker, Some(Maker::Intel | Maker::Amd))
    }

    /// The row in rr's tables; `None` if no row matches.
    pub fn microarchitecture(&self) -> Option<Microarchitecture> {
        let maker = self.maker?;
        let fits = |row: &&Row| {
            row.0 == maker && row.1.is_none_or(|family| family == self.family) && row.2.contains(&self.number)
        };
        TABLE.iter().find(fits).map(|&(_, _, _, name, since, branches)| Microarchitecture { name, since, branches })
    }
}

/// Vendor, extended family if it matters, numbers, name, first release, event.
type Row = (Maker, Option<u32>, &'static [u32], &'static str, Version, u64);

use Maker::{Amd, Arm, Intel};

const V4: Version = Version(5, 4, 0);
const V5: Version = Version(5, 5, 0);
const V6: Version = Version(5, 6, 0);
const V7: Version = Version(5, 7, 0);
const V8: Version = Version(5, 8, 0);
const V9: Version = Version(5, 9, 0);

/// BR_INST_RETIRED.CONDITIONAL, and its number from Ice Lake on.
const OLD: u64 = 0x51_01c4;
const NEW: u64 = 0x51_11c4;
/// The same event on the Atom line, and from Lunar Lake on.
const ATOM: u64 = 0x51_7ec4;
const WIDE: u64 = 0x100_0051_11c4;
/// RETIRED_CONDITIONAL_BRANCH_INSTRUCTIONS on every Zen.
const ZEN: u64 = 0x51_00d1;
const F15: u64 = 0xc4;
/// BR_RETIRED, and Apple's event.
const BR: u64 = 0x21;
const APPLE: u64 = 0x90;

const TABLE: [Row; 67] = [
    (Intel, None, &[0x0_06f0, 0x1_0660], "Intel Merom", V4, 0),
    (Intel, None, &[0x1_0670, 0x1_06d0], "Intel Penryn", V4, 0),
    (Intel, None, &[0x1_06a0, 0x1_06e0, 0x2_06e0], "Intel Nehalem", V4, OLD),
    (Intel, None, &[0x2_0650, 0x2_06c0, 0x2_06f0], "Intel Westmere", V4, OLD),
    (Intel, None, &[0x2_06a0, 0x2_06d0, 0x3_06e0], "Intel Sandy Bridge", V4, OLD),
    (Intel, None, &[0x3_06a0], "Intel Ivy Bridge", V4, OLD),
    (Intel, None, &[0x3_06c0, 0x3_06f0, 0x4_0650, 0x4_0660], "Intel Haswell", V4, OLD),
    (Intel, None, &[0x3_06d0, 0x4_0670, 0x4_06f0, 0x5_0660], "Intel Broadwell", V4, OLD),
    (Intel, None, &[0x4_06e0, 0x5_0650, 0x5_06e0], "Intel Skylake", V4, OLD),
    (Intel, None, &[0x3_0670, 0x4_06c0, 0x5_0670], "Intel Silvermont", V4, ATOM),
    (Intel, None, &[0x5_06f0], "Intel Goldmont", V4, ATOM),
    (Intel, None, &[0x7_06a0], "Intel Goldmont", V6, ATOM),
    (Intel, None, &[0x5_06c0], "Intel Goldmont", V7, ATOM),
    (Intel, None, &[0x9_06c0], "Intel Tremont", V7, ATOM),
    (Intel, None, &[0x8_06e0, 0x9_06e0], "Intel Kaby Lake", V4, OLD),
    (Intel, None, &[0xa_0650, 0xa_0660], "Intel Comet Lake", V4, OLD),
    (Intel, None, &[0x7_06e0], "Intel Ice Lake", V4, NEW),
    (Intel, None, &[0x6_06a0], "Intel Ice Lake", V6, NEW),
    (Intel, None, &[0x8_0660], "Intel Ice Lake", V8, NEW),
    (Intel, None, &[0x8_06c0, 0x8_06d0], "Intel Tiger Lake", V5, NEW),
    (Intel, None, &[0xa_0670], "Intel Rocket Lake", V6, NEW),
    (Intel, None, &[0x9_0670, 0x9_06a0], "Intel Alder Lake", V6, NEW),
    (Intel, None, &[0xb_0670], "Intel Raptor Lake", V7, NEW),
    (Intel, None, &[0xb_06a0, 0xb_06f0], "Intel Raptor Lake", V8, NEW),
    (Intel, None, &[0x8_06f0], "Intel Sapphire Rapids", V7, NEW),
    (Intel, None, &[0xc_06f0], "Intel Emerald Rapids", V8, NEW),
    (Intel, None, &[0xa_06d0], "Intel Granite Rapids", UNRELEASED, NEW),
    (Intel, None, &[0xa_06a0], "Intel Meteor Lake", V9, NEW),
    (Intel, None, &[0xb_06d0], "Intel Lunar Lake", UNRELEASED, WIDE),
    (Intel, None, &[0xb_06e0], "Intel Gracemont", UNRELEASED, ATOM),
    (Intel, None, &[0xc_0660], "Intel Arrow Lake", V9, WIDE),
    (Intel, None, &[0xb_0650, 0xc_0650], "Intel Arrow Lake", UNRELEASED, WIDE),
    (Amd, None, &[0x3_0f00], "AMD Family 15h", V4, F15),
    (Amd, Some(3), &[0x0_0f10], "AMD Family 15h", V5, F15),
    // rr ignores the family here, so EPYC Turin (family 1Ah, model 2) also matches this row.
    (Amd, None, &[0x0_0f20], "AMD Family 15h", V9, F15),
    (Amd, Some(8), &[0x0_0f10, 0x0_0f80, 0x1_0f10, 0x1_0f80, 0x2_0f00], "AMD Zen", V4, ZEN),
    (Amd, Some(8), &[0x3_0f10, 0x6_0f00, 0x7_0f10], "AMD Zen 2", V4, ZEN),
    (Amd, Some(8), &[0x6_0f80, 0x9_0f00], "AMD Zen 2", V6, ZEN),
    (Amd, Some(10), &[0x1_0f10, 0x1_0f80, 0x2_0f00], "AMD Zen 2", V6, ZEN),
    (Amd, Some(10), &[0x0_0f10, 0x0_0f80], "AMD Zen 3", V6, ZEN),
    (Amd, Some(10), &[0x2_0f10, 0x5_0f00], "AMD Zen 3", V5, ZEN),
    (Amd, Some(10), &[0x4_0f40], "AMD Zen 3", V6, ZEN),
    (Amd, Some(10), &[0x6_0f10], "AMD Zen 4", V7, ZEN),
    (Amd, Some(10), &[0x7_0f40, 0x7_0f50], "AMD Zen 4", V8, ZEN),
    (Amd, None, &[0x2_0f40], "AMD Zen 5", V9, ZEN),
    (Amd, None, &[0x7_0f00], "AMD Zen 5", UNRELEASED, ZEN),
    (Amd, Some(11), &[0x3_0f10, 0x6_0f00, 0x7_0f10, 0x6_0f80, 0x9_0f00], "AMD Zen 5", UNRELEASED, ZEN),
    (Arm(0x41), None, &[0xd05], "ARM Cortex A55", V6, 0),
    (Arm(0x41), None, &[0xd0a], "ARM Cortex A75", V6, 0),
    (Arm(0x41), None, &[0xd0b], "ARM Cortex A76", V6, BR),
    (Arm(0x41), None, &[0xd0d], "ARM Cortex A77", V6, BR),
    (Arm(0x41), None, &[0xd41], "ARM Cortex A78", V6, BR),
    (Arm(0x41), None, &[0xd4b], "ARM Cortex A78", V7, BR),
    (Arm(0x41), None, &[0xd44], "ARM Cortex X1", V6, BR),
    (Arm(0x41), None, &[0xd4c], "ARM Cortex X1", V7, BR),
    (Arm(0x41), None, &[0xd80], "ARM Cortex A520", UNRELEASED, 0),
    (Arm(0x41), None, &[0xd81], "ARM Cortex A720", UNRELEASED, BR),
    (Arm(0x41), None, &[0xd4a], "ARM Neoverse E1", V6, 0),
    (Arm(0x41), None, &[0xd0c, 0xd40, 0xd49], "ARM Neoverse N1, N2 or V1", V6, BR),
    (Arm(0x41), None, &[0xd8e, 0xd4f, 0xd83, 0xd84], "ARM Neoverse N3, V2 or V3", V9, BR),
    (Arm(0x51), None, &[0x802, 0x803, 0x805], "Qualcomm Kryo (A55, A75)", V6, 0),
    (Arm(0x51), None, &[0x804], "Qualcomm Kryo (A76)", V6, BR),
    (Arm(0x51), None, &[0x001], "Qualcomm Oryon X1", UNRELEASED, BR),
    (Arm(0x61), None, &[0x22, 0x23, 0x24, 0x25], "Apple M1", V6, APPLE),
    (Arm(0x61), None, &[0x28, 0x29, 0x32, 0x33], "Apple M1 or M2", V7, APPLE),
    (Arm(0x61), None, &[0x34, 0x35, 0x38, 0x39], "Apple M2", V9, APPLE),
    (Arm(0xc0), None, &[0xac3], "AmpereOne", V9, BR),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn x86(vendor: &str, family: u32, model: u32) -> Processor {
        Processor::read(&format!(
            "vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nflags\t\t: fpu avx\n"
        ))
    }

    fn known(processor: &Processor) -> Option<(&'static str, Version)> {
        processor.microarchitecture().map(|known| (known.name, known.since))
    }

    #[test]
    fn processors_get_the_number_that_rr_sees_in_cpuid() {
        assert_eq!(x86("GenuineIntel", 6, 0x9e).number, 0x9_06e0);
        let zen3 = x86("AuthenticAMD", 0x19, 0x21);
        assert_eq!((zen3.number, zen3.family), (0x2_0f10, 10));
        assert!(zen3.has("avx") && !zen3.has("av") && !zen3.is_virtual());
    }

    #[test]
    fn processors_are_found_in_the_table_with_the_first_release_that_knows_them() {
        assert_eq!(known(&x86("GenuineIntel", 6, 0x9e)), Some(("Intel Kaby Lake", V4)));
        assert_eq!(known(&x86("GenuineIntel", 6, 0xb7)), Some(("Intel Raptor Lake", V7)));
        assert_eq!(known(&x86("GenuineIntel", 6, 0xba)), Some(("Intel Raptor Lake", V8)));
        assert_eq!(known(&x86("AuthenticAMD", 0x19, 0x61)), Some(("AMD Zen 4", V7)));
        assert_eq!(known(&x86("AuthenticAMD", 0x17, 0x71)), Some(("AMD Zen 2", V4)));
        assert_eq!(known(&x86("AuthenticAMD", 0x1a, 0x02)), Some(("AMD Family 15h", V9)));
        assert_eq!(known(&x86("AuthenticAMD", 0x1a, 0x60)), Some(("AMD Zen 5", UNRELEASED)));
        assert_eq!(known(&x86("GenuineIntel", 6, 0xff)), None);
        assert_eq!(known(&x86("HygonGenuine", 0x18, 1)), None);
    }

    #[test]
    fn processors_of_arm_are_known_by_implementer_and_part() {
        let arm = Processor::read("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n");
        assert_eq!(known(&arm), Some(("ARM Neoverse N1, N2 or V1", V6)));
        assert_eq!(arm.model, "implementer 0x41, part 0xd0c");
        assert!(!arm.is_x86());
        assert_eq!(Processor::read("vendor_id : IBM/S390\n").maker, None);
    }

    #[test]
    fn no_processor_stands_in_two_rows() {
        for (at, row) in TABLE.iter().enumerate() {
            for other in &TABLE[at + 1..] {
                let same = row.0 == other.0 && (row.1.is_none() || other.1.is_none() || row.1 == other.1);
                assert!(!same || row.2.iter().all(|number| !other.2.contains(number)), "{} and {}", row.3, other.3);
            }
        }
    }
}

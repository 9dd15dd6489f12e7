//! What `--help` says of bpftrace's command line.

/// All of it.
pub(super) const TEXT: &str = "\
nettrace, by the name of bpftrace

USAGE:
    bpftrace [OPTIONS] FILE [PARAMETER]... [-- --NAME=VALUE...]
    bpftrace [OPTIONS] -e PROGRAM [PARAMETER]... [-- --NAME=VALUE...]
    bpftrace [OPTIONS] -l [PATTERN|FILE]

FILE is a program, - for stdin. PARAMETERs are its $1 and so on, getopt() asks for NAMEs.

WHAT:
    -e PROGRAM               this program
    -l, --list               probes that fit a pattern, or those of a program; types for `struct NAME`
    -v, --verbose            say more; with -l, arguments of probes and fields of types
    -h, --help               this text
    -V, --version            the version
        --info               what this kernel can do

PROCESSES:
    -p, --pid PID            this process alone, until it ends
    -c, --cmd CMD            run a command, until it ends

OUTPUT:
    -o, --output FILE        into a file
    -f FORM                  text or json
    -B WHEN                  line, full or none: when it is written
    -q, --quiet              don't say how many probes are attached
    -k, --warnings           warn of reads of memory that fail
        --no-warnings        no warnings

PROGRAM:
        --unsafe             allow system() and the like
        --dry-run            end once all is attached
        --no-feature NAMES   do without kprobe_multi, kprobe_session, uprobe_multi
        --mode MODE          codegen: only compile; test, bench: those probes alone
        --test, --bench      the same
    -d, --debug STAGES       show ast, types, codegen, verifier or all
        --traceable-functions FILE   what kprobes can be put on, in place of the kernel's list
    -I DIR                   headers of #include are here too
        --include FILE       a header that comes first
    --debuginfo DIR, --usdt-file-activation, --verify-llvm-ir, -b, --btf
                             taken and without effect: types are the kernel's own

Environment: BPFTRACE_MAX_STRLEN and the other settings of a program's config block.
";

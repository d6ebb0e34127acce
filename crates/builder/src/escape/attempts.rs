//! The attempts: each a few lines of Perl, because its `syscall` reaches what no safe library offers. A script that gets out ends with 0; one that is
//! refused prints why and ends with 7; anything else proves nothing and counts as a failure of the suite.

/// What shows that an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The script itself was refused.
    Refused,
    /// The script did it, and its output is refused, for a reason with these words.
    NoOutput(&'static str),
    /// The build is ended for its time.
    Late,
    /// Nothing is left running: no process of this machine bears the script's mark.
    Gone,
    /// The build counts as failed, with no outputs, whatever it said.
    Unheard,
}

/// Whether the same script can be shown to work outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// By anybody.
    Works,
    /// By root.
    WorksForRoot,
    /// Where the kernel has it.
    IfThere,
    /// Not tried, for this reason.
    NotTried(&'static str),
}

/// One attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) name: &'static str,
    pub(super) script: &'static str,
    pub(super) proof: Proof,
    pub(super) outside: Outside,
}

const fn refused(name: &'static str, outside: Outside, script: &'static str) -> Attempt {
    Attempt { name, script, proof: Proof::Refused, outside }
}

/// What every script starts with: the ways to end, and the numbers of the system calls of this machine.
pub(super) const PRELUDE: &str = concat!(
    "$| = 1;\n",
    "sub out { print \"got out\\n\"; exit 0 }\n",
    "sub held { my $why = \"$!\"; print \"refused: $why\\n\"; exit 7 }\n",
    "sub try { my $r = shift; (defined($r) && $r ne '-1' && $r) ? out() : held() }\n",
    "sub call { my $r = syscall(shift, @_); $r == -1 ? held() : out() }\n",
);

/// All of them. `@NAME@` stands for what the suite made outside for the attempt to reach.
pub(super) const ATTEMPTS: &[Attempt] = &[
    refused(
        "network-tcp",
        Outside::Works,
        "socket(my $s, 2, 1, 0) or held(); try(connect($s, pack('S n C4 x8', 2, @PORT@, 127, 0, 0, 1)))",
    ),
    refused(
        "network-udp",
        Outside::Works,
        "socket(my $s, 2, 2, 0) or held(); try(send($s, 'x', 0, pack('S n C4 x8', 2, @PORT@, 127, 0, 0, 1)))",
    ),
    refused(
        "network-unix-socket",
        Outside::Works,
        "socket(my $s, 1, 1, 0) or held(); try(connect($s, pack('S a108', 1, '@DIR@/socket')))",
    ),
    refused(
        "network-abstract-socket",
        Outside::Works,
        "socket(my $s, 1, 1, 0) or held(); try(connect($s, pack('S a*', 1, \"\\0@ABSTRACT@\")))",
    ),
    refused("network-vsock", Outside::IfThere, "try(socket(my $s, 40, 1, 0))"),
    refused("network-netlink", Outside::Works, "try(socket(my $s, 16, 3, 0))"),
    refused("network-packet", Outside::WorksForRoot, "try(socket(my $s, 17, 3, 0))"),
    refused("signing-key", Outside::Works, "try(open(my $f, '<', '@DIR@/signing.key'))"),
    refused(
        "signer-environment",
        Outside::Works,
        "open(my $f, '<', '/proc/@PID@/environ') or held(); try(<$f>)",
    ),
    refused("signer-memory", Outside::Works, "try(open(my $f, '+<', '/proc/@PID@/mem'))"),
    refused("signer-signal", Outside::Works, "try(kill(0, @PID@))"),
    refused("journal", Outside::Works, "try(open(my $f, '>>', '@DIR@/journal.jsonl'))"),
    refused("other-build", Outside::Works, "try(open(my $f, '<', '@DIR@/other/source/secret'))"),
    refused("host-files", Outside::Works, "try(opendir(my $d, '@DIR@'))"),
    refused(
        "write-source",
        Outside::NotTried("it would change the suite's own source"),
        "try(open(my $f, '>>', '/src/file'))",
    ),
    refused(
        "write-inputs",
        Outside::NotTried("there are no inputs outside"),
        "try(open(my $f, '>', '/inputs/file'))",
    ),
    refused(
        "write-tools",
        Outside::WorksForRoot,
        "my $d = -d '@DIR@' ? '@DIR@' : '/usr'; try(open(my $f, '>', \"$d/new\"))",
    ),
    refused(
        "device",
        Outside::WorksForRoot,
        "my $p = (-d '/out' ? '/out' : '@DIR@') . '/device'; call(@SYS_mknodat@, -100, $p, 020666, 0x103)",
    ),
    refused(
        "procfs-settings",
        Outside::WorksForRoot,
        "try(open(my $f, '>>', '/proc/sys/kernel/core_pattern'))",
    ),
    refused(
        "procfs-root-of-init",
        Outside::Works,
        "my $p = -d '@DIR@' ? @PID@ : 1; try(opendir(my $d, \"/proc/$p/root\"))",
    ),
    refused(
        "procfs-memory-of-init",
        Outside::Works,
        "my $p = -d '@DIR@' ? @PID@ : 1; try(open(my $f, '+<', \"/proc/$p/mem\"))",
    ),
    refused(
        "procfs-program-of-init",
        Outside::Works,
        "my $p = -d '@DIR@' ? @PID@ : 1; try(open(my $f, '<', \"/proc/$p/exe\"))",
    ),
    refused("sysfs", Outside::Works, "try(opendir(my $d, '/sys/kernel'))"),
    refused("io-uring", Outside::Works, "my $p = \"\\0\" x 120; call(@SYS_io_uring_setup@, 4, $p)"),
    refused("ptrace", Outside::Works, "my $z = 0; call(@SYS_ptrace@, 0, 0, 0, 0)"),
    refused(
        "process-memory",
        Outside::Works,
        "my $b = 'x' x 8; my $v = pack('P Q', $b, 8); my $c = $v; call(@SYS_process_vm_readv@, 0 + $$, $v, 1, $c, 1, 0)",
    ),
    refused("setuid", Outside::WorksForRoot, "call(@SYS_setresuid@, 0, 0, 0)"),
    refused(
        "setuid-program",
        Outside::NotTried("whoever runs the suite would have to be somebody else"),
        "my $e = `/usr/bin/perl-setuid -e 'print \\$>'`; $! = 1; $e eq '0' ? out() : $e eq $> ? held() : exit 1",
    ),
    refused(
        "bind-mount",
        Outside::WorksForRoot,
        "my $d = -d '@DIR@' ? '@DIR@' : '/build'; mkdir \"$d/m\"; my ($a, $b, $t) = ('/usr', \"$d/m\", 'none'); \
         my $r = syscall(@SYS_mount@, $a, $b, $t, 4096, 0); my $e = $!; syscall(@SYS_umount2@, $b, 2) if $r == 0; $! = $e; \
         $r == 0 ? out() : held()",
    ),
    refused("mount-by-descriptor", Outside::WorksForRoot, "my $t = 'tmpfs'; call(@SYS_fsopen@, $t, 0)"),
    refused("chroot", Outside::WorksForRoot, "my $p = '/'; call(@SYS_chroot@, $p)"),
    refused("new-user-namespace", Outside::Works, "call(@SYS_unshare@, 0x10000000)"),
    refused(
        "clone-into-user-namespace",
        Outside::Works,
        "my $r = syscall(@SYS_clone@, 0x10000011, 0, 0, 0, 0); exit 0 if $r == 0; $r == -1 ? held() : out()",
    ),
    refused(
        "enter-namespace",
        Outside::WorksForRoot,
        "my $p = -d '@DIR@' ? @PID@ : 1; open(my $f, '<', \"/proc/$p/ns/net\") or held(); call(@SYS_setns@, fileno($f), 0)",
    ),
    refused("keyring", Outside::IfThere, "call(@SYS_keyctl@, 0, -4, 1)"),
    refused(
        "bpf",
        Outside::WorksForRoot,
        "my $a = pack('L L L L x112', 2, 4, 4, 1); call(@SYS_bpf@, 0, $a, 128)",
    ),
    refused("user-fault", Outside::WorksForRoot, "call(@SYS_userfaultfd@, 0)"),
    refused(
        "performance-events",
        Outside::IfThere,
        "my $a = pack('L L Q x112', 1, 128, 0); call(@SYS_perf_event_open@, $a, 0, -1, -1, 0)",
    ),
    refused(
        "file-by-handle",
        Outside::WorksForRoot,
        "my ($p, $h, $m) = ('/', pack('L l x128', 128, 0), pack('l', 0)); call(@SYS_name_to_handle_at@, -100, $p, $h, $m, 0)",
    ),
    refused(
        "hard-link-of-source",
        Outside::NotTried("there is no source outside"),
        "try(link('/src/file', '/out/link'))",
    ),
    refused(
        "fork-bomb",
        Outside::Works,
        "my @c; my $e; for (1..200) { my $p = fork; if (!defined $p) { $e = $!; last } if (!$p) { sleep 60; exit } push @c, $p } \
         kill 9, @c; $! = $e; @c == 200 ? out() : held()",
    ),
    refused(
        "fill-disk",
        Outside::Works,
        "my $d = -d '@DIR@' ? '@DIR@' : '/build'; mkdir \"$d/full\"; my ($n, $e); for (1..48) { open(my $f, '>', \"$d/full/$_\") or last; \
         my $w = syswrite($f, 'x' x 1048576); $e = $!; last if $w != 1048576; $n++ } unlink(map { \"$d/full/$_\" } 1..48); $! = $e; $n == 48 ? out() : held()",
    ),
    refused(
        "fill-memory",
        Outside::Works,
        "open(STDERR, '>', '/dev/null'); my $p = fork; if (!$p) { my $m = 300; $m <<= 20; my $x = 'x' x $m; exit(length($x) ? 0 : 1) } waitpid($p, 0); \
         $! = 12; $? == 0 ? out() : held()",
    ),
    Attempt {
        name: "survive-the-end",
        script: "my $p = fork; exit 0 if $p; syscall(@SYS_setsid@); exit 0 if fork; $0 = '@MARK@'; close STDIN; close STDOUT; close STDERR; sleep 600",
        proof: Proof::Gone,
        outside: Outside::Works,
    },
    Attempt {
        name: "run-for-ever",
        script: "$SIG{$_} = 'IGNORE' for ('TERM', 'INT', 'HUP', 'ALRM'); sleep 600; exit 0",
        proof: Proof::Late,
        outside: Outside::NotTried("it would run for ever"),
    },
    Attempt {
        name: "output-symbolic-link",
        script: "my $d = -d '/out' ? '/out' : '@DIR@'; try(symlink('/etc/passwd', \"$d/leaves\"))",
        proof: Proof::NoOutput("symbolic link"),
        outside: Outside::Works,
    },
    Attempt {
        name: "output-hard-link",
        script: "my $d = -d '/out' ? '/out' : '@DIR@'; open(my $f, '>', \"$d/one\"); try(link(\"$d/one\", \"$d/two\"))",
        proof: Proof::NoOutput("hard link"),
        outside: Outside::Works,
    },
    Attempt {
        name: "output-setuid",
        script: "my $d = -d '/out' ? '/out' : '@DIR@'; open(my $f, '>', \"$d/setuid\"); try(chmod(04755, \"$d/setuid\"))",
        proof: Proof::NoOutput("set-user-id"),
        outside: Outside::Works,
    },
    Attempt {
        name: "output-named-pipe",
        script: "my $p = (-d '/out' ? '/out' : '@DIR@') . '/pipe'; call(@SYS_mknodat@, -100, $p, 010644, 0)",
        proof: Proof::NoOutput("neither a file"),
        outside: Outside::Works,
    },
    Attempt {
        name: "output-hole",
        script: "my $d = -d '/out' ? '/out' : '@DIR@'; for (1..3) { open(my $f, '>', \"$d/hole$_\") or held(); truncate($f, 31 << 20) or held() } out()",
        proof: Proof::NoOutput("larger than"),
        outside: Outside::Works,
    },
    Attempt {
        name: "forged-report",
        script: "my $r = qq({\"end\":\"done\"}\\n{\"file\":{\"path\":\"forged\",\"length\":0,\"executable\":false}}\\n\"last\"\\n); \
                 for my $n (0..63) { open(my $f, '>&=', $n) or next; syswrite($f, $r) } \
                 for my $n (0..63) { open(my $f, '>', \"/proc/1/fd/$n\") or next; syswrite($f, $r) } exit 9",
        proof: Proof::Unheard,
        outside: Outside::NotTried("nobody listens outside"),
    },
    Attempt {
        name: "forged-success",
        script: "kill($_, 1) for (1..64); exit 9",
        proof: Proof::Unheard,
        outside: Outside::NotTried("it would ask the machine to stop"),
    },
];

"""Static checks of the two modules, and the ways to load them on a server."""

import re
import tomllib

import pytest
import tree_sitter
import tree_sitter_powershell

from engine.vmm.powershell import MODULES, module_text, write_modules
from tests.powershell.pwsh import ROOT, Shell, check, needs_checks
from tests.powershell.scene import imported
from tests.powershell.stubs import COMMANDS, commands

PLACE = ROOT / "engine" / "vmm" / "powershell"
SHARED = (PLACE / "VMFerry.Shared.ps1").read_text("ascii")
OWN = {name: (PLACE / f"{name}.ps1").read_text("ascii") for name in MODULES}
EXPORTED = {
    "VMFerry.Vmm": {
        *("Get-VmfVersion", "Get-VmfJobs", "Get-VmfInventory", "Get-VmfSite", "Get-VmfNetwork"),
        *("Start-VmfMove", "Start-VmfReread", "Stop-VmfMove", "Clear-VmfFailure"),
        "Repair-VmfModel",
    },
    "VMFerry.Host": {
        *("Get-VmfHostState", "Get-VmfPulse", "Get-VmfHostNetwork", "Add-VmfHostPort"),
        "Test-VmfRights",
    },
}
APPROVED = {
    *(
        "Add",
        "Assert",
        "Clear",
        "Complete",
        "Connect",
        "ConvertFrom",
        "ConvertTo",
        "Find",
        "Format",
        "Get",
    ),
    *("Invoke", "Join", "New", "Read", "Remove", "Repair", "Resolve", "Select", "Set", "Start"),
    *("Stop", "Test", "Update", "Wait"),
}
FUNCTION = re.compile(r"^function ([A-Za-z]+-[A-Za-z]+) \{\n(.*?)^\}$", re.MULTILINE | re.DOTALL)

modules = pytest.mark.parametrize("name", MODULES)


def functions(text: str) -> dict[str, str]:
    return {found[1]: found[2] for found in FUNCTION.finditer(text)}


def help_of(body: str) -> str:
    found = re.match(r"\s*<#(.*?)#>", body, re.DOTALL)
    return found[1] if found else ""


def broken(text: str) -> list[str]:
    """Places that PowerShell's grammar cannot parse."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    found, left = [], [parser.parse(text.encode()).root_node]
    while left:
        node = left.pop()
        if node.type == "ERROR" or node.is_missing:
            found.append(
                f"line {node.start_point[0] + 1}: {text.splitlines()[node.start_point[0]]}"
            )
        elif node.has_error:
            left += node.children
    return found


# --- parsing ---------------------------------------------------------------------------------


@modules
def test_every_module_and_manifest_parses(name):
    assert broken(module_text(name)) == []
    assert broken((PLACE / f"{name}.psd1").read_text("ascii")) == []


def test_the_parser_reports_broken_syntax():
    assert broken("function Get-Thing { param([string] $Name }") != []


@needs_checks
def test_every_call_fits_the_documented_cmdlets_and_windows_powershell_51(tmp_path):
    files = [path for path in write_modules(tmp_path) if path.suffix == ".psm1"]

    assert len(files) == len(MODULES)
    assert check(COMMANDS, *files) == ""


@needs_checks
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("Get-SCVMHosts", "unknown command"),
        ("Get-SCVMHost -Hostname x", "no such parameter"),
        ("Get-SCVMHost -Comp x", "abbreviated"),
        ("Get-SCJob -Running -ID $x", "no parameter set has"),
        ("Stop-SCJob", "mandatory parameters missing"),
        ("virtualmachinemanager\\Get-VM", "is in Hyper-V"),
        ("$x | % { $_ }", "alias"),
        ("$x ? 1 : 2", "not in Windows PowerShell 5.1"),
        ("$x ?? 2", "not in Windows PowerShell 5.1"),
        ("Get-VM && Get-VMHost", "not in Windows PowerShell 5.1"),
        ("if ($x) {", "Missing closing"),
    ],
)
def test_the_check_reports_each_kind_of_wrong_call(tmp_path, line, found):
    file = tmp_path / "Wrong.psm1"
    file.write_text(line)

    assert found in check(COMMANDS, file)


# --- house rules -----------------------------------------------------------------------------


@modules
def test_modules_are_ascii_because_powershell_51_assumes_the_ansi_code_page(name):
    module_text(name).encode("ascii")


@modules
def test_modules_use_neither_their_path_nor_exports_so_they_also_work_as_text(name):
    assert not re.search(r"PSScriptRoot|PSCommandPath|Export-ModuleMember", module_text(name))


@modules
def test_modules_turn_on_strict_mode_and_stop_on_errors(name):
    assert "\nSet-StrictMode -Version Latest\n$ErrorActionPreference = 'Stop'\n" in module_text(
        name
    )


@modules
def test_function_names_have_an_approved_verb_and_a_vmf_noun(name):
    found = [one.split("-", 1) for one in functions(module_text(name))]

    assert found
    assert {verb for verb, _ in found} <= APPROVED
    assert all(noun.startswith("Vmf") for _, noun in found)


@modules
def test_every_function_has_a_synopsis_or_a_comment(name):
    text = module_text(name)
    silent = [
        one
        for one, body in functions(text).items()
        if not re.search(r"\.SYNOPSIS\n\s+\S", help_of(body))
        and (one in EXPORTED[name] or not re.search(rf"^# .+\nfunction {one} ", text, re.MULTILINE))
    ]

    assert silent == []


@modules
def test_every_exported_function_explains_its_parameters_and_its_answer(name):
    known = functions(module_text(name))
    for one in EXPORTED[name]:
        block = known[one].split("param(", 1)[1].split("    try {")[0]
        parameters = re.findall(r"\[(?:string|string\[\]|int)\] \$(\w+)", block)
        explained = re.findall(r"^ +# .+\n +\[.*\$(\w+)", block, re.MULTILINE)

        assert explained == parameters, one
        assert "One JSON text; data is {" in help_of(known[one]), one


@modules
def test_the_manifest_exports_the_functions_of_the_contract(name):
    manifest = (PLACE / f"{name}.psd1").read_text("ascii")

    assert set(re.findall(r"'(\w+-\w+)'", manifest)) == EXPORTED[name]
    assert EXPORTED[name] <= set(functions(module_text(name)))


@modules
def test_the_shared_part_comes_first_and_is_not_repeated(name):
    assert module_text(name).startswith(SHARED)
    assert module_text(name).endswith(OWN[name])
    assert set(functions(SHARED)) & set(functions(OWN[name])) == set()


def test_the_modules_have_no_function_in_common_except_the_shared_part():
    assert set.intersection(*(set(functions(text)) for text in OWN.values())) == set()


@modules
def test_every_module_uses_every_shared_function(name):
    known = functions(SHARED)
    needed, texts = set(), [OWN[name]]
    while texts:
        text = texts.pop()
        new = {one for one in known if re.search(rf"(?<![\w-]){one}(?![\w-])", text)} - needed
        needed |= new
        texts += [known[one] for one in new]

    assert len(known) > 5
    assert set(known) - needed == set()


def test_the_vmm_module_calls_no_hyperv_cmdlet():
    text = module_text("VMFerry.Vmm")
    hyperv = [one for one, spec in commands().items() if spec["module"] == "Hyper-V"]
    code = re.sub(r"<#.*?#>|^\s*#.*?$", "", text, flags=re.DOTALL | re.MULTILINE)

    assert [one for one in hyperv if re.search(rf"(?<![\w-]){one}(?![\w-])", code)] == []


def test_the_host_module_qualifies_every_hyperv_cmdlet_with_its_module():
    code = re.sub(
        r"<#.*?#>|^\s*#.*?$", "", module_text("VMFerry.Host"), flags=re.DOTALL | re.MULTILINE
    )
    hyperv = [one for one, spec in commands().items() if spec["module"] == "Hyper-V"]
    used = [one for one in hyperv if re.search(rf"(?<![\w-]){one}(?![\w-])", code)]

    assert len(used) == len(hyperv)
    assert [one for one in used if re.search(rf"(?<![\w\\-]){one}(?![\w-])", code)] == []


def test_a_move_never_starts_a_vm_nor_discards_a_saved_state():
    assert not re.search(r"StartVMOnTarget|DiscardSavedState", module_text("VMFerry.Vmm"))


@modules
def test_no_cmdlet_that_deletes_is_called(name):
    deletes = (
        r"\b(?:Remove|Delete|Clear|Uninstall|Unregister)-(?!Vmf)\w+|\.Delete\(|\b(?:rm|del|ri)\s"
    )

    assert re.findall(deletes, module_text(name)) == []


def test_hresult_is_never_used():
    for name in MODULES:
        assert not re.search(r"\.HResult", module_text(name), re.IGNORECASE)


def test_the_list_of_cmdlets_has_no_unused_entry():
    text = "".join(module_text(name) for name in MODULES)
    unused = [one for one in commands() if not re.search(rf"(?<![\w-]){one}(?![\w-])", text)]

    assert unused == []
    assert "Microsoft" in COMMANDS.read_text("utf-8").splitlines()[2]


def test_an_installed_package_contains_the_powershell_files():
    """Patterns of package data apply to the package's own folder and not to deeper ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    package_data = {path for pattern in patterns for path in PLACE.glob(pattern)}

    assert package_data >= {path for path in PLACE.iterdir() if path.suffix.startswith(".ps")}


def test_an_unknown_module_is_refused_by_name():
    with pytest.raises(ValueError, match=r"VMFerry\.Nothing"):
        module_text("VMFerry.Nothing")


# --- both ways to the server -----------------------------------------------------------------


def test_every_module_is_written_completely_for_installation(tmp_path):
    written = write_modules(tmp_path / "new")

    assert [path.relative_to(tmp_path / "new").as_posix() for path in written] == [
        "VMFerry.Vmm/VMFerry.Vmm.psm1",
        "VMFerry.Vmm/VMFerry.Vmm.psd1",
        "VMFerry.Host/VMFerry.Host.psm1",
        "VMFerry.Host/VMFerry.Host.psd1",
    ]
    for module, manifest in zip(written[::2], written[1::2], strict=True):
        assert module.read_text("ascii") == module_text(module.stem)
        assert f"RootModule        = '{module.name}'" in manifest.read_text("ascii")


def test_older_installed_files_are_replaced(tmp_path):
    first, *_ = write_modules(tmp_path)
    first.write_text("an older version")

    write_modules(tmp_path)

    assert first.read_text("ascii") == module_text(first.stem)


@needs_checks
@modules
def test_an_imported_module_exposes_only_the_functions_of_the_contract(name, tmp_path):
    lister = "function Show-Names { (Get-Command -Module " + name + ").Name -join ' ' }"
    write_modules(tmp_path)
    with Shell({}, f"{imported(name, tmp_path)}\n{lister}") as shell:
        (found,) = shell.call("Show-Names").output

    assert set(str(found).split()) == EXPORTED[name]


@needs_checks
@modules
def test_powershell_finds_the_help_of_a_function_of_each_module(name):
    shower = """function Show-Help($Of) {
        $found = Get-Help $Of -Full
        $found.Synopsis
        foreach ($one in @($found.parameters.parameter)) { $one.description.Text }
    }"""
    one = sorted(EXPORTED[name])[0]
    with Shell({}, f"{module_text(name)}\n{shower}") as shell:
        found = [str(line).strip() for line in shell.call("Show-Help", Of=one).output]

    text = re.sub(r"[\s#]+", " ", module_text(name))
    assert len(found) > 2
    assert all(found)
    assert [line for line in found if re.sub(r"\s+", " ", line) not in text] == []

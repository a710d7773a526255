# A shell that stays open: one line (Base64 of JSON) per call. The function is called by name with a
# table of parameters, never by text built from values. Runs in the global scope, as text loaded
# into a runspace does.
while ($null -ne ($Line = [Console]::In.ReadLine())) {
    $Call = ConvertFrom-Json -InputObject ([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($Line)))
    $Given = @{}
    foreach ($One in $Call.parameters.PSObject.Properties) { $Given[$One.Name] = $One.Value }
    $Name = $Call.function
    $Out = @()
    $Failed = @()
    try {
        foreach ($One in @(& $Name @Given 2>&1)) {
            if ($One -is [Management.Automation.ErrorRecord]) { $Failed += [string] $One } else { $Out += $One }
        }
    }
    catch { $Failed += [string] $_ }
    $Reply = ConvertTo-Json -InputObject @{ output = [object[]] $Out; errors = [object[]] $Failed } -Depth 9 -Compress
    [Console]::Out.WriteLine([Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($Reply)))
}

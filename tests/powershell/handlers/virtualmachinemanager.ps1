# What importing the real module does beside bringing cmdlets: aliases that shadow Hyper-V's.
foreach ($pair in @{
        'Get-VM' = 'Get-SCVirtualMachine'; 'Get-VMHost' = 'Get-SCVMHost'; 'Move-VM' = 'Move-SCVirtualMachine'
        'Stop-Job' = 'Stop-SCJob'
    }.GetEnumerator()) {
    Set-Alias -Name $pair.Key -Value $pair.Value -Scope Script
}

@{
    RootModule        = 'VMFerry.Host.psm1'
    ModuleVersion     = '2.0.0'
    GUID              = '7f2b9f0c-2f5e-4a35-8d0b-5d9c6c1e4b27'
    Author            = 'VMFerry contributors'
    Copyright         = 'VMFerry contributors, MIT license'
    Description       = 'Functions of VMFerry for a Hyper-V host. Each returns one JSON text.'
    PowerShellVersion = '5.1'
    FunctionsToExport = @(
        'Add-VmfHostPort', 'Get-VmfHostNetwork', 'Get-VmfHostState', 'Get-VmfPulse', 'Test-VmfRights'
    )
    CmdletsToExport   = @()
    VariablesToExport = @()
    AliasesToExport   = @()
}

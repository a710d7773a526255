# The shared first part of both modules. Windows PowerShell 5.1.
#
# module_text puts this text in front of VMFerry.Vmm.ps1 and of VMFerry.Host.ps1: the two together are
# a complete module. It runs as an installed module and as text in a runspace, so nothing depends on
# the path of a file.
#
# Every exported function takes parameters only, and returns exactly one JSON text (contract 2):
#   {"contract":2,"ok":true,"data":{...}}
#   {"contract":2,"ok":false,"error":{"class":"locked|busy|stale|refused|unavailable","code","fqeid","message"}}
# ConvertTo-Json of 5.1 writes enums as numbers, dates as \/Date()\/ and anything deeper than
# -Depth as text. So enums are converted to words, dates to texts and lists to [object[]] first.
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$WarningPreference = 'SilentlyContinue'
$ProgressPreference = 'SilentlyContinue'
$ConfirmPreference = 'None'

# The JSON text of a function that succeeded.
function ConvertTo-VmfReply {
    param([System.Collections.IDictionary] $Data)
    ConvertTo-Json -InputObject ([ordered]@{ contract = 2; ok = $true; data = $Data }) -Depth 8 -Compress
}

# The JSON text of a function that failed: the error and its class.
# The class is decided here, where the error was thrown. Numbers come from FullyQualifiedErrorId
# (VMM writes "2606,Class"); HResult is not a VMM number and is never used.
function ConvertTo-VmfFailure {
    param([System.Management.Automation.ErrorRecord] $ErrorRecord)
    $fullId = [string] $ErrorRecord.FullyQualifiedErrorId
    $text = [string] $ErrorRecord.Exception.Message
    if (($fullId -split ',')[0] -match '^Vmf\.([a-z]+)\.(\w+)$') {
        $class = $Matches[1]
        $code = $Matches[2]
    }
    else {
        $code = Get-VmfErrorCode -ErrorRecord $ErrorRecord
        $class = Get-VmfErrorClass -ErrorRecord $ErrorRecord
        $text = ConvertTo-VmfSentence -Message $text
    }
    $failure = [ordered]@{ class = $class; code = $code; fqeid = $fullId; message = $text }
    ConvertTo-Json -InputObject ([ordered]@{ contract = 2; ok = $false; error = $failure }) -Depth 8 -Compress
}

# The error number, or an empty text.
function Get-VmfErrorCode {
    param([System.Management.Automation.ErrorRecord] $ErrorRecord)
    $message = [string] $ErrorRecord.Exception.Message
    $head = (([string] $ErrorRecord.FullyQualifiedErrorId) -split ',')[0].Trim()
    if ($head -match '^\d+$') { return $head }
    # Only at the end of the first line, where VMM writes it: the name of a VM may look the same.
    if ($message -match '^[^\r\n]*\(Error ID: (\d+), Detailed Error:[^\r\n]*\)\s*(\r|\n|$)') { return $Matches[1] }
    ''
}

# The class, locked, busy, unavailable or refused: did it happen, and may the caller retry.
function Get-VmfErrorClass {
    param([System.Management.Automation.ErrorRecord] $ErrorRecord)
    $code = Get-VmfErrorCode -ErrorRecord $ErrorRecord
    $message = [string] $ErrorRecord.Exception.Message
    if (@('2606', '2602', '23234') -contains $code) { return 'locked' }
    if (@('23007', '21501') -contains $code) { return 'busy' }
    if ($message -match 'limit \W?\d+\W? was reached') { return 'busy' }
    if (@('2912', '2916', '2927', '20506', '1711') -contains $code) { return 'unavailable' }
    if (([string] $ErrorRecord.FullyQualifiedErrorId) -match '^ObjectInUse(,|$)') { return 'locked' }
    $lost = '^System\.(TimeoutException|ObjectDisposedException|IO\.IOException|Net\.Sockets\.|Net\.WebException' +
        '|ServiceModel\.|Runtime\.Remoting\.)|WSManException$'
    $exception = $ErrorRecord.Exception
    while ($null -ne $exception) {
        if ($exception.GetType().FullName -match $lost) { return 'unavailable' }
        $exception = $exception.InnerException
    }
    'refused'
}

# Tell whether this error is a refusal. Any other class means that there was no answer this time.
function Test-VmfRefusal {
    param([System.Management.Automation.ErrorRecord] $ErrorRecord)
    (Get-VmfErrorClass -ErrorRecord $ErrorRecord) -eq 'refused'
}

# The first paragraph of an error, without its number, which has its own field, and without advice.
function ConvertTo-VmfSentence {
    param([string] $Message)
    $first = ($Message -split '\r?\n[ \t]*\r?\n', 2)[0].Trim()
    if ($first -match '(?s)^(.*?)\s*\(Error ID: \d+, Detailed Error:\s*(.*)\)$') {
        $first = $Matches[1]
        if ($Matches[2]) { $first = $first + ' (' + $Matches[2] + ')' }
    }
    $first
}

# An error of our own to throw. Its id holds the class and a word as code.
function New-VmfError {
    param([string] $Class, [string] $Code, [string] $Message)
    $exception = [System.InvalidOperationException]::new($Message)
    [System.Management.Automation.ErrorRecord]::new($exception, "Vmf.$Class.$Code", 'InvalidOperation', $null)
}

# The error of a guard: nothing was done, the caller has to observe again.
function New-VmfStale {
    param([string] $Code, [string] $Message)
    New-VmfError -Class 'stale' -Code $Code -Message $Message
}

# Throw stale unless the caller's decision is valid now by this machine's clock. Without NotBefore it is
# valid at once.
function Assert-VmfInTime {
    param([string] $Name, [string] $NotAfter, [string] $NotBefore)
    $now = (Get-Date).ToUniversalTime()
    $late = ($now - (ConvertFrom-VmfTime -Text $NotAfter -Parameter 'NotAfter')).TotalSeconds
    $form = [System.Globalization.CultureInfo]::InvariantCulture
    if ($late -gt 0) {
        $seconds = $late.ToString('0', $form)
        throw (New-VmfStale -Code 'deadline' -Message "The call for $Name came $seconds s after its deadline")
    }
    if (-not $NotBefore) { return }
    $early = ((ConvertFrom-VmfTime -Text $NotBefore -Parameter 'NotBefore') - $now).TotalSeconds
    if ($early -le 0) { return }
    $seconds = $early.ToString('0', $form)
    throw (New-VmfStale -Code 'early' -Message "The call for $Name came $seconds s before it may take effect")
}

# The caller's time as UTC. A text that is no time is refused.
function ConvertFrom-VmfTime {
    param([string] $Text, [string] $Parameter)
    $time = [datetimeoffset]::MinValue
    $style = [System.Globalization.DateTimeStyles]::AssumeUniversal
    if (-not [datetimeoffset]::TryParse($Text, [System.Globalization.CultureInfo]::InvariantCulture, $style, [ref] $time)) {
        throw (New-VmfError -Class 'refused' -Code 'contract' -Message "$Parameter is not a time: $Text")
    }
    $time.UtcDateTime
}

# A property of an object, or the default if this version of the product lacks it.
function Get-VmfProperty {
    param($InputObject, [string] $Name, $Default)
    $property = $InputObject.PSObject.Properties[$Name]
    if ($null -eq $property -or $null -eq $property.Value) { return $Default }
    $property.Value
}

# A field of the caller's input. Null is a value; a missing field is an error.
function Get-VmfField {
    param($InputObject, [string] $Name)
    $property = $InputObject.PSObject.Properties[$Name]
    if ($null -eq $property) {
        throw (New-VmfError -Class 'refused' -Code 'contract' -Message "The field $Name is missing in the input.")
    }
    , $property.Value
}

# A text, or null if it is null or empty.
function ConvertTo-VmfText {
    param($Value)
    $text = [string] $Value
    if ($text.Length -eq 0) { return $null }
    $text
}

# A time as ISO 8601 in UTC, regardless of this machine's culture and time zone.
function ConvertTo-VmfTime {
    param([datetime] $Date)
    $form = "yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'"
    $Date.ToUniversalTime().ToString($form, [System.Globalization.CultureInfo]::InvariantCulture)
}

# A VM id in VMFerry's spelling: upper case, without braces.
function ConvertTo-VmfId {
    param($Id)
    ([string] $Id).Trim([char[]]@('{', '}', ' ')).ToUpperInvariant()
}

# An adapter id in VMFerry's spelling: VMM's DeviceID and Hyper-V's Id differ only in case.
function ConvertTo-VmfAdapterId {
    param($Id)
    $text = [string] $Id
    if ($text -match '(?s)^Microsoft:(.*)$') { return 'Microsoft:' + $Matches[1].ToUpperInvariant() }
    $text
}

# A MAC address in VMM's spelling, 00:1D:D8:B7:2C:B6, or an empty text.
function ConvertTo-VmfMac {
    param($Mac)
    $digits = ([string] $Mac) -replace '[^0-9A-Fa-f]', ''
    if ($digits.Length -ne 12) { return '' }
    ($digits.ToUpperInvariant() -replace '(..)(?!$)', '$1:')
}

# The adapter with the caller's id, else the only one with its MAC (other than zeros), else nothing.
function Select-VmfAdapter {
    param([object[]] $Adapters, [string] $IdProperty, $Wanted)
    $id = ConvertTo-VmfAdapterId -Id (Get-VmfField -InputObject $Wanted -Name 'id')
    $address = ConvertTo-VmfMac -Mac (Get-VmfField -InputObject $Wanted -Name 'mac')
    foreach ($adapter in $Adapters) {
        if ((ConvertTo-VmfAdapterId -Id $adapter.$IdProperty) -eq $id) { return $adapter }
    }
    if (@('', '00:00:00:00:00:00') -contains $address) { return }
    $same = @(foreach ($adapter in $Adapters) {
            if ((ConvertTo-VmfMac -Mac $adapter.MacAddress) -eq $address) { $adapter }
        })
    if ($same.Count -eq 1) { $same[0] }
}

# As Select-VmfAdapter, but a missing adapter is refused.
function Find-VmfAdapter {
    param([object[]] $Adapters, [string] $IdProperty, $Wanted, [string] $VmName)
    $adapter = Select-VmfAdapter -Adapters $Adapters -IdProperty $IdProperty -Wanted $Wanted
    if ($null -ne $adapter) { return $adapter }
    $label = Get-VmfLabel -Wanted $Wanted
    throw (New-VmfError -Class 'refused' -Code 'no_adapter' -Message "'$VmName' has no adapter $label")
}

# The label of the caller's adapter for people: its MAC, else its id.
function Get-VmfLabel {
    param($Wanted)
    $mac = [string] (Get-VmfField -InputObject $Wanted -Name 'mac')
    if ($mac) { return $mac }
    [string] (Get-VmfField -InputObject $Wanted -Name 'id')
}

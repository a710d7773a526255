"""Tables of the blocks, elements and forms that VMFerry sends to Slack. The stand-in rejects
everything else: to use another block, first add its row here."""

from __future__ import annotations

from bot.standin.shapes import (
    Check,
    distinct,
    either,
    flag,
    listed,
    one_of,
    shape,
    string,
    then,
    typed,
    whole,
)

MESSAGE_BLOCKS, VIEW_BLOCKS = 50, 100
URL, TEXT, LABEL, PLACEHOLDER, IDENTIFIER = 3_000, 3_000, 2_000, 150, 255
HEADER, ACTIONS, CONTEXTS, CONTEXT = 150, 25, 10, 2_000
BUTTON_TEXT, BUTTON_VALUE = 75, 2_000
OPTIONS, OPTION_TEXT, OPTION_VALUE, OVERFLOW = 100, 75, 150, 5
TITLE, PRIVATE = 24, 3_000

ident = string(IDENTIFIER)
style = one_of("primary", "danger")


def _plain(most: int) -> Check:
    return typed({"plain_text": shape("text", text=string(most), emoji=flag)})


def _text(most: int) -> Check:
    plain = shape("text", text=string(most), emoji=flag)
    mrkdwn = shape("text", text=string(most), verbatim=flag)
    return typed({"plain_text": plain, "mrkdwn": mrkdwn})


# --- elements -----------------------------------------------------------------------------------

_CONFIRM = shape(
    "title text confirm deny",
    title=_plain(100),
    text=_text(300),
    confirm=_plain(30),
    deny=_plain(30),
    style=style,
)
_BUTTON = shape(
    "text",
    text=_plain(BUTTON_TEXT),
    action_id=ident,
    url=string(URL),
    value=string(BUTTON_VALUE),
    style=style,
    confirm=_CONFIRM,
    accessibility_label=string(BUTTON_TEXT),
)
_OPTION = {
    "text": _plain(OPTION_TEXT),
    "value": string(OPTION_VALUE),
    "description": _plain(OPTION_TEXT),
}
_CHOICE = shape("text value", **_OPTION)
_CHOICES = listed(_CHOICE, 1, OPTIONS)
_GROUP = shape("label options", label=_plain(OPTION_TEXT), options=_CHOICES)
_OVERFLOW = shape(
    "options",
    action_id=ident,
    options=listed(shape("text value", **_OPTION, url=string(URL)), 2, OVERFLOW),
    confirm=_CONFIRM,
)
_MENU = {
    "action_id": ident,
    "initial_options": _CHOICES,
    "max_selected_items": whole(1, OPTIONS),
    "placeholder": _plain(PLACEHOLDER),
    "confirm": _CONFIRM,
    "focus_on_load": flag,
}
_STATIC = then(
    shape(**_MENU, options=_CHOICES, option_groups=listed(_GROUP, 1, OPTIONS)),
    either("options", "option_groups"),
)
_ASKING = shape(**_MENU, min_query_length=whole(0, 100))
#: The app's answer to a menu that requests options. It may be empty.
offered = shape("options", options=listed(_CHOICE, 0, OPTIONS))
_LINE = shape(
    action_id=ident,
    initial_value=string(3_000, 0),
    multiline=flag,
    min_length=whole(0, 3_000),
    max_length=whole(1, 3_000),
    placeholder=_plain(PLACEHOLDER),
    focus_on_load=flag,
)
_PRESSED = typed({"button": _BUTTON, "overflow": _OVERFLOW})
_FILLED = typed(
    {"plain_text_input": _LINE, "multi_static_select": _STATIC, "multi_external_select": _ASKING}
)

# --- blocks -------------------------------------------------------------------------------------

_ELEMENTS = then(listed(_PRESSED, 1, ACTIONS), distinct("action_id"))
_BLOCKS = {
    "section": shape("text", text=_text(TEXT), block_id=ident, expand=flag),
    "header": shape("text", text=_plain(HEADER), block_id=ident),
    "divider": shape(block_id=ident),
    "context": shape("elements", elements=listed(_text(CONTEXT), 1, CONTEXTS), block_id=ident),
    "actions": shape("elements", elements=_ELEMENTS, block_id=ident),
}
_INPUT = shape(
    "label element",
    label=_plain(LABEL),
    element=_FILLED,
    hint=_plain(LABEL),
    optional=flag,
    dispatch_action=flag,
    block_id=ident,
)

of_a_message: Check = then(listed(typed(_BLOCKS), 0, MESSAGE_BLOCKS), distinct("block_id"))
_of_a_view = then(listed(typed(_BLOCKS | {"input": _INPUT}), 1, VIEW_BLOCKS), distinct("block_id"))
_MODAL = shape(
    "title blocks",
    title=_plain(TITLE),
    submit=_plain(TITLE),
    close=_plain(TITLE),
    blocks=_of_a_view,
    private_metadata=string(PRIVATE, 0),
    callback_id=string(IDENTIFIER, 0),
    external_id=string(IDENTIFIER, 0),
    clear_on_close=flag,
    notify_on_close=flag,
    submit_disabled=flag,
)
modal: Check = typed({"modal": _MODAL})

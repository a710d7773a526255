"""The blocks, elements and views that Slack takes from us, as tables. What is not here is refused:
whoever uses another block adds its row first.
"""

from __future__ import annotations

from bot.standin.shapes import (
    Check,
    distinct,
    either,
    flag,
    listed,
    one_of,
    shape,
    some_of,
    string,
    then,
    typed,
    whole,
)

MESSAGE_BLOCKS, VIEW_BLOCKS = 50, 100
URL, TEXT, LABEL, PLACEHOLDER, IDENTIFIER = 3_000, 3_000, 2_000, 150, 255
FIELDS, FIELD, HEADER = 10, 2_000, 150
ACTIONS, CONTEXTS, CONTEXT = 25, 10, 2_000
BUTTON_TEXT, BUTTON_VALUE = 75, 2_000
OPTIONS, OPTION_TEXT, OPTION_VALUE, OVERFLOW, BOXES = 100, 75, 150, 5, 10
TITLE, PRIVATE = 24, 3_000

ident = string(IDENTIFIER)
style = one_of("primary", "danger")


def _plain(most: int) -> Check:
    said = shape("text", text=string(most), emoji=flag)
    return typed({"plain_text": said})


def _text(most: int) -> Check:
    plain = shape("text", text=string(most), emoji=flag)
    mrkdwn = shape("text", text=string(most), verbatim=flag)
    return typed({"plain_text": plain, "mrkdwn": mrkdwn})


# --- elements -------------------------------------------------------------------------------

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
_IMAGE = shape("image_url alt_text", image_url=string(URL), alt_text=string(2_000))


def _option(text: Check, **more: Check) -> Check:
    return shape(
        "text value",
        text=text,
        value=string(OPTION_VALUE),
        description=_plain(OPTION_TEXT),
        **more,
    )


_CHOICE = _option(_plain(OPTION_TEXT))
_MARKED = _option(_text(OPTION_TEXT))
_CHOICES = listed(_CHOICE, 1, OPTIONS)
_GROUP = shape("label options", label=_plain(OPTION_TEXT), options=_CHOICES)


def _select(**more: Check) -> Check:
    fields = shape(
        action_id=ident,
        options=_CHOICES,
        option_groups=listed(_GROUP, 1, OPTIONS),
        placeholder=_plain(PLACEHOLDER),
        confirm=_CONFIRM,
        focus_on_load=flag,
        **more,
    )
    return then(fields, either("options", "option_groups"))


_OVERFLOW = shape(
    "options",
    action_id=ident,
    options=listed(_option(_plain(OPTION_TEXT), url=string(URL)), 2, OVERFLOW),
    confirm=_CONFIRM,
)
_STATIC = _select(initial_option=_CHOICE)
_MULTI = _select(initial_options=_CHOICES, max_selected_items=whole(1, OPTIONS))
_ASKING = shape(
    action_id=ident,
    min_query_length=whole(0, 100),
    initial_options=_CHOICES,
    max_selected_items=whole(1, OPTIONS),
    placeholder=_plain(PLACEHOLDER),
    confirm=_CONFIRM,
    focus_on_load=flag,
)
#: What an app answers when a menu asks it for options; none are fine.
offered = shape("options", options=listed(_CHOICE, 0, OPTIONS))
_CHECKBOXES = shape(
    "options",
    action_id=ident,
    options=listed(_MARKED, 1, BOXES),
    initial_options=listed(_MARKED, 1, BOXES),
    confirm=_CONFIRM,
    focus_on_load=flag,
)
_RADIO = shape(
    "options",
    action_id=ident,
    options=listed(_MARKED, 1, BOXES),
    initial_option=_MARKED,
    confirm=_CONFIRM,
    focus_on_load=flag,
)
_LINE = shape(
    action_id=ident,
    initial_value=string(3_000, 0),
    multiline=flag,
    min_length=whole(0, 3_000),
    max_length=whole(1, 3_000),
    placeholder=_plain(PLACEHOLDER),
    focus_on_load=flag,
)
_PRESSED = {
    "button": _BUTTON,
    "overflow": _OVERFLOW,
    "static_select": _STATIC,
    "checkboxes": _CHECKBOXES,
    "radio_buttons": _RADIO,
}
_FILLED = {
    "plain_text_input": _LINE,
    "static_select": _STATIC,
    "multi_static_select": _MULTI,
    "multi_external_select": _ASKING,
    "checkboxes": _CHECKBOXES,
    "radio_buttons": _RADIO,
}
_SMALL = {
    "image": _IMAGE,
    "plain_text": _plain(CONTEXT),
    "mrkdwn": _text(CONTEXT),
}

# --- blocks ---------------------------------------------------------------------------------

_BLOCKS = {
    "section": then(
        shape(
            text=_text(TEXT),
            fields=listed(_text(FIELD), 1, FIELDS),
            accessory=typed(_PRESSED | {"image": _IMAGE, "multi_static_select": _MULTI}),
            block_id=ident,
            expand=flag,
        ),
        some_of("text", "fields"),
    ),
    "header": shape("text", text=_plain(HEADER), block_id=ident),
    "divider": shape(block_id=ident),
    "context": shape("elements", elements=listed(typed(_SMALL), 1, CONTEXTS), block_id=ident),
    "actions": then(
        shape("elements", elements=listed(typed(_PRESSED), 1, ACTIONS), block_id=ident),
        distinct("action_id", "elements"),
    ),
    "image": shape(
        "image_url alt_text",
        image_url=string(URL),
        alt_text=string(2_000),
        title=_plain(2_000),
        block_id=ident,
    ),
}
_INPUT = shape(
    "label element",
    label=_plain(LABEL),
    element=typed(_FILLED),
    hint=_plain(LABEL),
    optional=flag,
    dispatch_action=flag,
    block_id=ident,
)

of_a_message: Check = then(listed(typed(_BLOCKS), 0, MESSAGE_BLOCKS), distinct("block_id"))
_of_a_view = then(listed(typed(_BLOCKS | {"input": _INPUT}), 1, VIEW_BLOCKS), distinct("block_id"))

# --- views ----------------------------------------------------------------------------------

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
_HOME = shape(
    "blocks",
    blocks=_of_a_view,
    private_metadata=string(PRIVATE, 0),
    callback_id=string(IDENTIFIER, 0),
    external_id=string(IDENTIFIER, 0),
)
modal: Check = typed({"modal": _MODAL})
home: Check = typed({"home": _HOME})

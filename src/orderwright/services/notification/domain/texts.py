"""The words that are used where staff wrote no others."""

from collections.abc import Mapping

from orderwright.services.notification.domain import Template

_GREETING = "Hello{% if name %} {{ name }}{% endif %},\n\n"
_GOODBYE = "\n\nYour shop\n"


def _template(name: str, subject: str, body: str) -> Template:
    return Template(name, subject, f"{_GREETING}{body}{_GOODBYE}")


BUILT_IN: Mapping[str, Template] = {
    template.name: template
    for template in (
        _template(
            "order_confirmation",
            "Your order {{ order_id }} is confirmed",
            "thank you for your order {{ order_id }}. It is paid and will leave us soon.\n"
            "{% for item in items %}\n"
            "  {{ item.quantity }} x {{ item.product_id }} at {{ item.price }} {{ currency }}{% endfor %}\n"
            "\nTotal: {{ total }} {{ currency }}",
        ),
        _template(
            "payment_failed",
            "The payment for your order {{ order_id }} failed",
            "the payment of {{ total }} {{ currency }} for your order {{ order_id }} did not work: {{ reason }}.\n"
            "You have not been charged, and the order is cancelled.",
        ),
        _template(
            "order_cancelled",
            "Your order {{ order_id }} is cancelled",
            "your order {{ order_id }} is cancelled ({{ reason }}).\nIf you have paid, the money is on its way back.",
        ),
        _template(
            "order_shipped",
            "Your order {{ order_id }} is on its way",
            "your order {{ order_id }} left us with {{ carrier }}. The tracking number is {{ tracking_number }}.",
        ),
        _template(
            "order_delivered",
            "Your order {{ order_id }} has arrived",
            "your order {{ order_id }} has arrived. Enjoy it!",
        ),
        _template(
            "refund_issued",
            "A refund for your order {{ order_id }}",
            "we have given {{ amount }} {{ currency }} back to you for your order {{ order_id }}.",
        ),
        Template("message", "{{ subject }}", "{{ body }}"),
    )
}

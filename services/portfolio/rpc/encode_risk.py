"""Exposure and estimates to messages."""

from __future__ import annotations

from decimal import Decimal

from perpmesh.portfolio.v1 import exposure_pb2, liquidation_pb2

from services.domain.decimals import plain_text, rounding
from services.portfolio.app.risk import Estimate, MarketPicture, Picture
from services.portfolio.model.exposure import Death, Transfer
from services.portfolio.model.liquidation import BPS, Case
from services.portfolio.model.rounding import ZERO, cut_to, product_half_even, shown
from services.portfolio.model.values import SETTLEMENT_ASSET
from services.portfolio.rpc.encode import floor_text, stamp, text


def exposure(picture: Picture) -> exposure_pb2.Exposure:
    """Return the exposure."""
    with rounding():
        net = sum((one.net_notional for one in picture.markets), ZERO)
        gross = sum((one.gross_notional for one in picture.markets), ZERO)
        equity = sum((standing.equity for _, standing, _ in picture.accounts), ZERO)
        funding = sum((one.funding_per_hour for one in picture.markets), ZERO)
    return exposure_pb2.Exposure(
        markets=[_market(picture, one) for one in picture.markets],
        accounts=[_account(picture, index) for index in range(len(picture.accounts))],
        net_notional=shown(net),
        gross_notional=shown(gross),
        equity=shown(equity),
        funding_per_hour=shown(funding),
        equalizing_transfers=[_transfer(one, picture.distance_after) for one in picture.transfers],
        explanation=_sentence(picture, net, funding),
        oldest_input_time=stamp(picture.oldest),
        create_time=stamp(picture.made),
    )


def _market(picture: Picture, one: MarketPicture) -> exposure_pb2.MarketExposure:
    return exposure_pb2.MarketExposure(
        market=one.market,
        net_size=shown(one.net_size),
        net_notional=shown(one.net_notional),
        gross_notional=shown(one.gross_notional),
        funding_per_hour=shown(one.funding_per_hour),
        rise=_death(picture, *one.rise) if one.rise is not None else None,
        fall=_death(picture, *one.fall) if one.fall is not None else None,
    )


def _death(picture: Picture, death: Death, pnl: Decimal, left: Decimal) -> exposure_pb2.FirstDeath:
    return exposure_pb2.FirstDeath(
        account_id=str(death.member.account_id),
        venue=death.member.venue,
        position_id=str(picture.position_ids[death.member.account_id, death.held.market]),
        move=shown(death.move),
        price=shown(death.price),
        pnl=shown(pnl),
        net_size_after=shown(left),
    )


def _account(picture: Picture, index: int) -> exposure_pb2.AccountExposure:
    view, standing, death = picture.accounts[index]
    report = view.account.reports.get(death.held.market) if death is not None else None
    return exposure_pb2.AccountExposure(
        account_id=str(view.account.account_id),
        venue=view.account.venue,
        equity=shown(standing.equity),
        maintenance_margin=shown(standing.maintenance),
        gross_notional=text(view.notional),
        liquidation_distance=shown(abs(death.move)) if death is not None else "",
        liquidation_market=death.held.market if death is not None else "",
        computed_liquidation_price=shown(death.price) if death is not None else "",
        reported_liquidation_price=text(report.position.liquidation_price if report is not None else None),
        buffer=shown(standing.buffer),
    )


def _transfer(one: Transfer, distance: Decimal | None) -> exposure_pb2.EqualizingTransfer:
    return exposure_pb2.EqualizingTransfer(
        from_account_id=str(one.source.account_id),
        to_account_id=str(one.target.account_id),
        asset=SETTLEMENT_ASSET,
        amount=shown(one.amount),
        distance_after=floor_text(distance),
        explanation=(
            f"Withdraw {plain_text(one.amount)} {SETTLEMENT_ASSET} from {one.source.venue} and deposit it at "
            f"{one.target.venue}: the wallet signs both, and it takes as long as the slower of the two chains."
            if one.source.venue != one.target.venue
            else f"Transfer {plain_text(one.amount)} {SETTLEMENT_ASSET} between the two accounts at {one.source.venue}."
        ),
    )


def _sentence(picture: Picture, net: Decimal, funding: Decimal) -> str:
    if picture.unknown and not picture.accounts:
        return "Nothing is counted: a mark price, a margin rule or a balance of every account is not known."
    nearest = min(
        ((view, death) for view, _, death in picture.accounts if death is not None),
        key=lambda pair: abs(pair[1].move),
        default=None,
    )
    parts = [f"Net notional {plain_text(cut_to(net, 2))} USD"]
    if nearest is not None:
        view, death = nearest
        percent = cut_to(abs(death.move) * 100, 2)
        way = "rise" if death.move > 0 else "fall"
        leg = f"{death.held.market} at {view.account.venue}"
        parts.append(f"the first leg to die is {leg}, at a {way} of {plain_text(percent)} %")
    verb = "pays" if funding > 0 else "receives"
    parts.append(f"funding {verb} {plain_text(cut_to(abs(funding), 6))} USD an hour")
    if picture.unknown:
        parts.append(f"{len(picture.unknown)} accounts are not counted, since a value of theirs is not known")
    return "; ".join(parts) + "."


def estimate(one: Estimate) -> liquidation_pb2.LiquidationEstimate:
    """Return an estimate."""
    cases = [one.positions_only, one.with_buys, one.with_sells]

    def far(case: Case) -> Decimal:
        return case.distance if case.distance is not None else Decimal("Infinity")

    return liquidation_pb2.LiquidationEstimate(
        positions_only=_case(one.positions_only),
        with_buy_orders=_case(one.with_buys),
        with_sell_orders=_case(one.with_sells),
        worst=_case(min(cases, key=far)),
        best=_case(max(cases, key=far)),
        inputs=[
            liquidation_pb2.LiquidationInput(
                name=given.name, value=shown(given.value), source=given.source, value_time=stamp(given.time)
            )
            for given in one.inputs
        ],
        formula=one.formula,
        verified=one.verified,
        create_time=stamp(one.made),
    )


def _case(one: Case) -> liquidation_pb2.LiquidationCase:
    return liquidation_pb2.LiquidationCase(
        size=shown(one.size),
        entry_price=text(one.entry_price),
        initial_margin=shown(one.initial),
        maintenance_margin=shown(one.maintenance),
        liquidation_price=text(one.liquidation_price),
        liquidation_distance_bps=text(product_half_even(one.distance, BPS) if one.distance is not None else None),
        margin_suffices=one.suffices,
    )
